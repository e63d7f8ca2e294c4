from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sources import BadRecord, Record, Source, text_lines
from tests.data.sources.texts import PACKERS, good_and_bad, messages, texts_of

Open = Callable[..., Source]
ReadAll = Callable[..., list[Record | BadRecord]]


def test_a_file_of_unclosed_quotes_takes_no_quadratic_time(
    read: ReadAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.sources.csv_table._REREAD_CHARS", 200_000)
    lines = ["id,text", *['a"b,"c'] * 5_000]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    good, bad = good_and_bad(read(tmp_path / "a.csv"))
    assert good == []
    assert 1 <= len(bad) <= 5_000


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "followed by other bytes", "never packed"])
def test_damaged_compression_yields_what_comes_before(
    read: ReadAll, tmp_path: Path, packed: str, damage: str
) -> None:
    numbers = random.Random(1)  # noqa: S311  noise that packs badly
    lines = [f"line {n} {numbers.random()}" for n in range(40_000)]
    raw = "\n".join(lines).encode()
    content = bytearray(PACKERS[packed](raw))
    if damage == "cut":
        del content[len(content) * 3 // 4 :]
    elif damage == "flipped":
        content[len(content) * 3 // 4] ^= 255
    elif damage == "followed by other bytes":
        content += b"other bytes"
    else:
        content = bytearray(raw)
    (tmp_path / f"a.txt{packed}").write_bytes(content)
    *good, last = read(tmp_path / f"a.txt{packed}")
    assert isinstance(last, BadRecord)
    assert (last.key, last.stage, last.size_bytes) == (None, "read", len(content))
    found = texts_of(good)
    # In a flipped deflate stream some of what comes out before the check fails can be wrong.
    sure = len(found) if damage != "flipped" else len(lines) // 2
    assert found[:sure] == lines[:sure]
    least = {"cut": 20_000, "flipped": 20_000, "never packed": 0}.get(damage, 39_999)
    assert len(found) >= least


def test_frames_one_after_the_other_are_one_file(read: ReadAll, tmp_path: Path) -> None:
    for packed in (".gz", ".zst"):
        pack = PACKERS[packed]
        (tmp_path / f"a.txt{packed}").write_bytes(pack(b"one\ntw") + pack(b"") + pack(b"o\n"))
        assert texts_of(read(tmp_path / f"a.txt{packed}")) == ["one", "two"]


def test_endless_lines_and_texts_are_bad_and_the_rest_is_read(
    read: ReadAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("text_lines", "making", "plain_text", "json_lines"):
        monkeypatch.setattr(f"data.sources.{module}.MAX_TEXT_CHARS", 1000)
    monkeypatch.setattr(text_lines, "_SKIP_CHARS", 100)
    long = "x" * 5000
    (tmp_path / "a.txt").write_text(f"one\n{long}\ntwo\n")
    (tmp_path / "b.jsonl").write_text(f'{{"text": "one"}}\n{{"text": "{long}"}}\n{{"text": "two"}}')
    (tmp_path / "c.csv").write_text(f"text\none\n{long}\ntwo\n")
    for name in ("a.txt", "b.jsonl", "c.csv"):
        records = read(tmp_path / name)
        assert texts_of([records[0], records[2]]) == ["one", "two"]
        assert messages(records) == ["the line is longer than 1000 characters"]
    (whole,) = read(tmp_path / "a.txt", lines=False)
    assert isinstance(whole, BadRecord)


@pytest.mark.parametrize(
    "name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.csv.gz", "a.txt.zst"]
)
@given(content=st.binary(max_size=200), key=st.sampled_from([None, "id"]), by_line=st.booleans())
@settings(max_examples=60)
def test_any_bytes_are_read_without_an_error(
    read: ReadAll, name: str, content: bytes, key: str | None, by_line: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        records = read(folder, key=key, lines=by_line)
    assert len({record.uri for record in records}) == len(records)
    for record in records:
        record.uri.encode("utf-8")
        if isinstance(record, Record):
            assert isinstance(record.payload, str)
            assert record.payload.encode("utf-8").strip()
            json.dumps(record.metadata, allow_nan=False).encode("utf-8")
        else:
            assert "\n" not in record.message
            assert len(record.message) <= 500


@given(content=st.text('ab,"\n\r;\t{}[]:', max_size=60))
@settings(max_examples=300)
def test_lines_of_quotes_and_commas_are_read_without_an_error(read: ReadAll, content: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.csv", "b.tsv", "c.json", "d.jsonl"):
            (Path(folder) / name).write_text("text,b\n" * (name == "a.csv") + content, newline="")
        records = read(folder)
    assert len({record.uri for record in records}) == len(records)


def test_a_file_that_vanishes_between_listing_and_reading(open_place: Open, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    source = open_place(tmp_path)
    assert len(list(source.list_files())) == 1
    (tmp_path / "a.txt").unlink()
    (bad,) = source.read_file("a.txt")
    assert isinstance(bad, BadRecord)
    assert (bad.stage, bad.error, bad.size_bytes) == ("read", "FileNotFoundError", None)
