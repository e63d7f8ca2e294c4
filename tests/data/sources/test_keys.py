from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources import BadRecord, Record, making
from tests.data.sources.texts import as_csv, good_and_bad, messages

if TYPE_CHECKING:
    from pathlib import Path

ReadAll = Callable[..., list[Record | BadRecord]]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_which_column_holds_the_text(read: ReadAll, tmp_path: Path, name: str) -> None:
    def said(row: dict[str, str], **options: str) -> list[str]:
        table = as_csv([list(row), list(row.values())])
        raw = table if name.endswith("csv") else json.dumps(row).encode()
        (tmp_path / name).write_bytes(raw)
        records = read(tmp_path / name, **options)
        return [r.payload if isinstance(r, Record) else r.message for r in records]  # type: ignore[misc]

    assert said({"id": "1", "text": "t", "title": "x"}) == ["t"]
    assert said({"id": "1", "body": "t"}, key="id") == ["t"]
    (message,) = said({"title": "x", "body": "y"})
    assert message.startswith('which column holds the text? Set text = "..."')
    assert "Columns: title, body." in message
    assert "Did you mean 'body'?" in said({"title": "x", "body": "y"}, text="boddy")[0]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_keys_name_items_once(read: ReadAll, tmp_path: Path, name: str) -> None:
    rows = [("x", "a"), ("y", "b"), ("x", "c"), ("", "d"), ("3", ""), ("4", "e")]
    if name.endswith("csv"):
        raw = as_csv([["id", "text"], *map(list, rows)])
    else:
        raw = "\n".join(json.dumps({"id": key, "text": text}) for key, text in rows).encode()
    (tmp_path / name).write_bytes(raw)
    records = read(tmp_path / name, key="id")
    first = 2 if name.endswith("csv") else 1
    assert good_and_bad(records) == (
        ["x", "y", "4"],
        [f"line {first + 2}", f"line {first + 3}", "3"],
    )
    assert "'x' occurs again" in messages(records)[0]
    assert len({record.uri for record in records}) == len(rows)
    positions = [record.position for record in records if isinstance(record, Record)]
    assert positions == [first - 1, first, first + 4]
    metadata = records[0].metadata if isinstance(records[0], Record) else {}
    assert metadata == {"id": "x"}


def test_numbers_name_items_but_other_values_do_not(read: ReadAll, tmp_path: Path) -> None:
    keys = [7, 0, 1.5, True, None, ["x"], "7", "\ud800"]
    lines = [json.dumps({"id": key, "text": "t"}) for key in keys]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    good, bad = good_and_bad(read(tmp_path / "a.jsonl", key="id"))
    assert good == ["7", "0", "1.5"]
    assert bad == ["line 4", "line 5", "line 6", "line 7", "line 8"]


@given(st.lists(st.text("abc", max_size=4), max_size=200))
def test_seen_keys_are_a_set(keys: list[str]) -> None:
    seen, expected = making.SeenKeys(), set[str]()
    for key in keys:
        assert seen.add(key) == (key not in expected)
        expected.add(key)


def test_seen_keys_grow() -> None:
    seen = making.SeenKeys()
    assert all(seen.add(str(n)) for n in range(5_000))
    assert not any(seen.add(str(n)) for n in range(5_000))
