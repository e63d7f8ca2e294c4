from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources import BadRecord, Record
from tests.data.sources.texts import PACKERS, as_csv, good_and_bad, messages, texts_of

ReadAll = Callable[..., list[Record | BadRecord]]

texts = st.text(st.characters(codec="utf-8")).filter(lambda text: text.strip() != "")


@pytest.mark.parametrize("packed", PACKERS)
@given(found=st.lists(texts, max_size=8))
def test_texts_come_back_from_json_lines(read: ReadAll, packed: str, found: list[str]) -> None:
    raw = "".join(json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(found))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.jsonl{packed}"
        path.write_bytes(PACKERS[packed](raw.encode()))
        records = read(path)
    assert texts_of(records) == found
    assert [record.key for record in records] == [str(n + 1) for n in range(len(found))]
    assert [r.metadata for r in records if isinstance(r, Record)] == [
        {"n": n} for n in range(len(found))
    ]


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.tsv", "excel-tab")])
@given(found=st.lists(texts, max_size=8))
def test_texts_come_back_from_csv(
    read: ReadAll, packed: str, name: str, dialect: str, found: list[str]
) -> None:
    rows = [["id", "text"], *([str(n), text] for n, text in enumerate(found))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (name + packed)
        path.write_bytes(PACKERS[packed](as_csv(rows, dialect=dialect)))
        records = read(path, key="id")
    assert texts_of(records) == found
    assert [record.uri for record in records] == [f"{path.name}#{n}" for n in range(len(found))]


@pytest.mark.parametrize("packed", PACKERS)
@given(found=st.lists(texts.filter(lambda text: "\n" not in text and "\r" not in text)))
def test_texts_come_back_from_lines(read: ReadAll, packed: str, found: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.txt{packed}"
        path.write_bytes(PACKERS[packed]("\n".join(found).encode()))
        # A byte order mark in front of the first text is none of its characters.
        assert texts_of(read(path)) == [
            text.removeprefix("\ufeff") if n == 0 else text
            for n, text in enumerate(found)
            if n or text.removeprefix("\ufeff").strip()
        ]


@given(found=texts)
def test_a_text_comes_back_from_its_file(read: ReadAll, found: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x/y").mkdir(parents=True)
        for name in ("x/y/a.txt", "b.md"):
            (Path(folder) / name).write_bytes(b"\xef\xbb\xbf" + found.encode())
        records = read(folder, lines=False)
    expected = [
        Record(file, None, None, found, {"folder": folder})
        for file, folder in (("b.md", ""), ("x/y/a.txt", "x/y"))
    ]
    assert records == expected


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis", "gb18030"]
)
def test_encodings_are_told_or_seen_by_their_mark(
    read: ReadAll, tmp_path: Path, encoding: str
) -> None:
    found = "café" if encoding in {"latin-1", "cp1252"} else "日本"
    lines = f"one {found}\r\ntwo\rthree {found}\n"
    (tmp_path / "a.txt").write_bytes(lines.encode(encoding))
    told = read(tmp_path / "a.txt", encoding=encoding)
    assert texts_of(told) == [f"one {found}", "two", f"three {found}"]
    if encoding in {"utf-16", "utf-16-le", "utf-32"}:
        assert read(tmp_path / "a.txt") == told


def test_bytes_that_do_not_decode_cost_their_line(read: ReadAll, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\nca\xe9f\xe9\n\nalso good\n\xed\xa0\x80\n")
    records = read(tmp_path / "a.txt")
    assert good_and_bad(records) == (["1", "4"], ["2", "5"])
    assert (
        "byte 0xE9 at column 3 is not valid utf-8; set the source's encoding"
        in messages(records)[0]
    )
    (tmp_path / "b.txt").write_bytes(b"a\nb\xff")
    (whole,) = read(tmp_path / "b.txt", lines=False)
    assert isinstance(whole, BadRecord)
    assert "byte 0xFF at line 2, column 2" in whole.message


def test_json_lines_are_bad_one_by_one(read: ReadAll, tmp_path: Path) -> None:
    lines = [
        '{"text": "a", "x": NaN, "y": 1e999, "z": {"k": [1, null, true]}}',
        '{"text": ',
        "",
        '{"text": "b"} x',
        '{"text": null}',
        '{"text": 5}',
        '{"txt": "c"}',
        '["text"]',
        '"text"',
        '{"text": "\\ud83d half"}',
        '{"text": "\\t "}',
        "[" * 100_000,
        '{"text": "d", "deep": ' + "[" * 100 + "]" * 100 + "}",
        "9" * 5000,
        '{"text": "e", "m": "\\ud83d"}',
    ]
    (tmp_path / "a.jsonl").write_text("\r\n".join(lines))
    records = read(tmp_path / "a.jsonl", text="text")
    assert good_and_bad(records) == (
        ["1", "15"],
        ["2", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14"],
    )
    first, last = records[0], records[-1]
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert first.metadata == {"x": None, "y": None, "z": {"k": [1, None, True]}}
    assert last.metadata == {"m": "\ufffd"}
    assert json.dumps(messages(records))
    said = {record.key: record.message for record in records if isinstance(record, BadRecord)}
    assert "column 9" in said["2"]
    assert "Did you mean 'txt'?" in said["7"]
    assert "U+D83D" in said["10"]
    assert said["11"] == "empty text"
    assert "nested" in said["12"]
    assert "nested" in said["13"]


def test_json_files_are_lines_an_array_or_one_object(read: ReadAll, tmp_path: Path) -> None:
    for name, content, expected in [
        ("lines", '{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ("array", '\n[{"text": "a"},\n {"text": "b"}]', ["a", "b"]),
        ("strings", '["a", "b"]', ["a", "b"]),
        ("object", '{\n  "text": "a",\n  "n": 1\n}', ["a"]),
        ("empty", "", []),
    ]:
        path = tmp_path / f"{name}.json"
        path.write_text(content)
        assert texts_of(read(path)) == expected
    (tmp_path / "broken.json").write_text('{\n  "text": "a",\n  "n": }')
    (bad,) = read(tmp_path / "broken.json")
    assert isinstance(bad, BadRecord)
    assert bad.key is None
    assert "line 3, column 8" in bad.message


def test_csv_records_are_bad_one_by_one(read: ReadAll, tmp_path: Path) -> None:
    lines = [
        "id,text",
        "1,good",
        "2,too,many",
        "3",
        "",
        '4,"two\nlines"',
        '5,"He said "hi""',
        '6,"never closed',
        "7,good again",
        '8,""',
        '9,"the end is missing',
        "10,still good",
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    records = read(tmp_path / "a.csv")
    assert good_and_bad(records) == (["2", "6", "10", "13"], ["3", "4", "8", "9", "11", "12"])
    assert messages(records)[0] == "3 fields where the header has 2"


def test_fields_larger_than_the_csv_modules_default(read: ReadAll, tmp_path: Path) -> None:
    text = "long, " * 100_000
    (tmp_path / "a.csv").write_bytes(as_csv([["text"], [text]]))
    assert texts_of(read(tmp_path / "a.csv")) == [text]


def test_delimiters_and_quotes_that_are_none(read: ReadAll, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id;text\n1;"a; b, c"\n')
    (tmp_path / "b.tsv").write_text('id\ttext\n1\t"so" he said\n2\t"and so on\n3\tend\n')
    assert texts_of(read(tmp_path / "a.csv")) == ["a; b, c"]
    assert texts_of(read(tmp_path / "b.tsv")) == ['"so" he said', '"and so on', "end"]
