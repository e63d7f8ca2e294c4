"""A run's result as text: what is foreign in it stays text."""

from __future__ import annotations

from tasks.stages.receipts import StageReceipt
from tasks.stages.runs import RunSummary
from tasks.stages.summaries import ignored_text, markdown_summary


def test_ignored_files_are_named_by_kind() -> None:
    kinds = {".psd": 2, "": 1, "(hidden)": 1200, ".tga": 2}
    assert ignored_text(kinds) == (
        "1,205 other files ignored: 1,200 (hidden), 2 .psd, 2 .tga, 1 (no extension)"
    )
    many = {f".{n}": 1 for n in range(9)}
    assert ignored_text(many).endswith("1 .4, 1 .5, 3 of other kinds")
    assert ignored_text(many).startswith("9 other files")
    assert ignored_text({".csv": 1}) == "1 other file ignored: 1 .csv"


def test_foreign_text_is_neither_html_nor_a_column_of_markdown() -> None:
    kinds = {".<img src=x onerror=alert(1)>": 1, ".a|b`c\nd": 1}
    receipt = StageReceipt("ingest", "s", True, {}, 1.0, (ignored_text(kinds),))
    text = markdown_summary(RunSummary("run", True, 1, 1.0, (receipt,)))
    (row,) = [line for line in text.splitlines() if line.startswith("| ingest")]
    assert "<" not in row
    assert "`" not in row
    assert row.count("|") == 5
