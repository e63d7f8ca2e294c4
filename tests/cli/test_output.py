"""Formats against other readers of the same format; tables against the width they were given."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import click
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentlake.cli.formats import write_csv, write_json, write_parquet
from latentlake.cli.output import Output, Result
from latentlake.cli.tables import TERMINAL_ROWS, Column, cells, crop, layout, print_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = """
SELECT * FROM (VALUES
    (1, 0.9::FLOAT, 'a "b", c' || chr(10) || 'd', [0.1::FLOAT, 0.2]::FLOAT[2], true,
     TIMESTAMPTZ '2026-01-02 03:04:05.5+00', '{"k": [1, null]}'::JSON,
     12345678901234567890::HUGEINT),
    (2, 'nan'::FLOAT, '', NULL, false, NULL, NULL, NULL),
    (NULL, NULL, NULL, [1, 2]::FLOAT[2], NULL, NULL, '"x"'::JSON, 3)
) AS t(number, score, label, vector, flag, "at", meta, big)"""


def relation() -> duckdb.DuckDBPyRelation:
    return duckdb.connect().sql(ROWS)


def written(write: Callable[[IO[bytes]], None]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def test_json_is_an_array_of_objects_with_plain_values() -> None:
    text = written(lambda stream: write_json(relation().to_arrow_reader(2), {"meta"}, stream))
    assert json.loads(text) == [
        {
            "number": 1,
            "score": 0.9,
            "label": 'a "b", c\nd',
            "vector": [0.1, 0.2],
            "flag": True,
            "at": "2026-01-02T03:04:05.500000Z",
            "meta": {"k": [1, None]},
            "big": 12345678901234567890,
        },
        dict.fromkeys(["score", "vector", "at", "meta", "big"])
        | {"number": 2, "label": "", "flag": False},
        dict.fromkeys(["number", "score", "label", "flag", "at"])
        | {"vector": [1, 2], "meta": "x", "big": 3},
    ]


def test_json_of_nothing_is_an_empty_array() -> None:
    reader = relation().limit(0).to_arrow_reader(2)
    assert json.loads(written(lambda stream: write_json(reader, (), stream))) == []


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5))
def test_json_gives_back_the_same_float32(values: list[float]) -> None:
    reader = pa.table({"x": pa.array(values, pa.float32())}).to_reader()
    rows = json.loads(written(lambda stream: write_json(reader, (), stream)))
    assert pa.array([row["x"] for row in rows], pa.float32()).to_pylist() == values


def test_csv_reads_back() -> None:
    text = written(lambda stream: write_csv(relation().to_arrow_reader(2), stream)).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["label"] for row in rows] == ['a "b", c\nd', "", ""]
    assert rows[0]["score"] == "0.9"
    assert json.loads(rows[0]["vector"]) == [0.1, 0.2]
    assert json.loads(rows[0]["meta"]) == {"k": [1, None]}
    assert rows[2]["number"] == ""


def test_parquet_keeps_values_and_types(tmp_path: Path) -> None:
    table = relation().to_arrow_table()
    path = tmp_path / "rows.parquet"
    path.write_bytes(written(lambda stream: write_parquet(table.to_reader(2), stream)))
    assert pq.read_schema(path).types == table.schema.types
    assert pq.read_table(path).drop(["score"]).to_pylist() == table.drop(["score"]).to_pylist()


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_every_row_and_the_whole_text() -> None:
    table = pa.table({"n": range(TERMINAL_ROWS + 50), "text": ["x" * 300] * (TERMINAL_ROWS + 50)})
    text = written(lambda stream: print_table(table.to_reader(7), None, "", stream)).decode()
    lines = text.splitlines()
    assert lines[0].split() == ["n", "text"]
    assert [line.split() for line in lines[2:]] == [
        [str(n), "x" * 300] for n in range(TERMINAL_ROWS + 50)
    ]


def test_a_terminal_gets_what_fits_and_is_told_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = pa.table({"n": range(TERMINAL_ROWS + 50), "text": ["x" * 300] * (TERMINAL_ROWS + 50)})
    stream = Terminal()
    print_table(table.to_reader(7), None, "", stream)
    *rows, last = click.unstyle(stream.getvalue().decode()).splitlines()
    assert len(rows) == TERMINAL_ROWS + 2
    assert max(map(len, rows)) == 40
    assert last.startswith(f"The first {TERMINAL_ROWS} rows")


def test_columns_that_cannot_fit_become_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = pa.table({f"column{n}": ["some longer text"] for n in range(9)})
    stream = Terminal()
    print_table(table.to_reader(), None, "", stream)
    lines = click.unstyle(stream.getvalue().decode()).splitlines()
    assert lines[1].split(maxsplit=1) == ["column0", "some longer text"]
    assert len(lines) == 1 + 9


def test_numbers_stand_to_the_right_with_equal_decimals() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    table = pa.table(
        {
            "id": [7, 1234],
            "similarity": pa.array([0.9, 1], pa.float32()),
            "at": [at, None],
            "name": ["a\x1b[31m\n", "b"],
        }
    )
    text = written(lambda stream: print_table(table.to_reader(), None, "", stream)).decode()
    assert text == (
        "  id  similarity  at                    name\n"
        "----  ----------  --------------------  ----------\n"
        "   7      0.9000  2026-01-02 03:04:05Z  a\\x1b[31m\n"
        "1234      1.0000  NULL                  b\n"
    )


@given(
    texts=st.lists(
        st.tuples(st.text(st.characters(categories=["L", "N", "Zs"])), st.text("ab/ ")),
        min_size=1,
        max_size=4,
    ),
    width=st.integers(30, 60),
)
def test_a_layout_never_exceeds_its_width(texts: list[tuple[str, str]], width: int) -> None:
    left, right = zip(*texts, strict=True)
    columns = [Column("left", list(left)), Column("right", list(right), is_number=True)]
    assert max(cells(line) for line in layout(columns, width).split("\n")) <= width


@given(st.text(), st.integers(1, 30))
def test_a_crop_keeps_the_width_and_both_ends_of_a_path(text: str, width: int) -> None:
    assert cells(crop(text, width)) <= max(width, 0)
    if cells(text) <= width:
        assert crop(text, width) == text
    path = "folder/" + "x" * 40 + "/name.jpg"
    assert crop(path, 30).startswith("folder/")
    assert crop(path, 30).endswith("/name.jpg")


def test_the_suffix_of_the_file_chooses_the_format(tmp_path: Path) -> None:
    for name in ("rows.json", "rows.csv", "rows.parquet", "rows.txt"):
        Output.of(None, tmp_path / name).write(Result.of(pa.table({"x": [1]})))
    assert json.loads((tmp_path / "rows.json").read_text()) == [{"x": 1}]
    assert (tmp_path / "rows.csv").read_text() == '"x"\n1\n'
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == [{"x": 1}]
    assert (tmp_path / "rows.txt").read_text() == "x\n-\n1\n"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> Any:
        yield pa.record_batch({"x": [1]})
        raise OSError("the disk is gone")

    (tmp_path / "rows.csv").write_text("as before")
    reader = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), broken())
    with pytest.raises(OSError, match="disk"):
        Output.of(None, tmp_path / "rows.csv").write(Result(reader))
    assert (tmp_path / "rows.csv").read_text() == "as before"
    assert list(tmp_path.iterdir()) == [tmp_path / "rows.csv"]


def test_tables_show_nan_and_vectors() -> None:
    table = pa.table({"x": [math.nan, 0.5], "v": [[0.5] * 100, None]})
    text = written(lambda stream: print_table(table.to_reader(), None, "", stream)).decode()
    assert "[0.5, 0.5, 0.5, … 100 values]" in text
    assert "nan" in text
