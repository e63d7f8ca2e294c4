"""Files of queries: every form reads the same, and a bad row is named and leaves the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.query_files import GivenQuery, read_queries
from latentlake.errors import QueryError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    {"id": "a", "text": "dark matter", "vector": None, "item": None},
    {"id": "b", "text": None, "vector": [0.5, 2.0], "item": None},
    {"id": None, "text": None, "vector": None, "item": "photos/1.jpg"},
]


def queries(path: Path) -> list[GivenQuery]:
    return [query for block in read_queries(path) for query in block]


def write(folder: Path, suffix: str) -> Path:
    path = folder / f"queries{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS), "utf-8")
    else:
        path.write_text('id,text,vector,item\na,dark matter,,\nb,,"[0.5, 2.0]",\n,,,photos/1.jpg\n')
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_tables_of_every_form_say_the_same(tmp_path: Path, suffix: str) -> None:
    text, vector, item = queries(write(tmp_path, suffix))
    assert (text.name, text.text, text.problem) == ("a", "dark matter", None)
    assert vector.name == "b"
    assert vector.vector is not None
    assert vector.vector.dtype == np.float32
    assert vector.vector.tolist() == [0.5, 2.0]
    assert (item.name, item.item) == ("3", "photos/1.jpg")


def test_lines_are_texts_by_their_number_and_empty_ones_none(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_bytes(
        "\ufeffdark matter\n\n\xff\n  stars \n".encode("utf-8").replace(b"\xc3\xbf", b"\xff")
    )
    first, broken, last = queries(path)
    assert (first.name, first.text) == ("1", "dark matter")
    assert (broken.name, broken.problem) == ("3", "not UTF-8")
    assert (last.name, last.text) == ("4", "stars")


def test_rows_of_a_matrix_are_vectors_and_bad_ones_are_named(tmp_path: Path) -> None:
    matrix = np.arange(12, dtype=np.float64).reshape(4, 3)
    matrix[2, 1] = np.nan
    np.save(tmp_path / "queries.npy", matrix)
    found = queries(tmp_path / "queries.npy")
    assert [query.name for query in found] == ["1", "2", "3", "4"]
    assert found[2].problem == "its vector has numbers that are not finite"
    assert all((found[at].vector == matrix[at]).all() for at in (0, 1, 3))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "no JSON"),
        ("[1, 2]", "no JSON object"),
        ("{}", "nothing to look for"),
        ('{"text": "a", "item": "b"}', "text and item to look for"),
        ('{"vector": ["x"]}', "no list of numbers"),
        ('{"vector": [[1], [2]]}', "shape"),
        ('{"vector": []}', "shape"),
        ('{"text": 7}', "no string"),
    ],
)
def test_a_bad_line_is_told_and_the_next_one_read(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(f'{line}\n{{"text": "stars"}}\n', "utf-8")
    bad, good = queries(path)
    assert problem in (bad.problem or "")
    assert (good.name, good.text) == ("2", "stars")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("queries.xlsx", b"", "queries are read from .npy"),
        ("queries.csv", b"a,b\n1,2\n", "its columns are a, b; one of text, vector, item"),
        ("queries.parquet", b"PAR1", "queries.parquet"),
        ("queries.npy", b"no", "no .npy file"),
    ],
)
def test_a_file_that_is_none_says_what_is_wanted(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QueryError, match=message):
        queries(tmp_path / name)
    with pytest.raises(QueryError, match="no such file"):
        queries(tmp_path / "missing.csv")


def test_many_queries_come_in_blocks(tmp_path: Path) -> None:
    np.save(tmp_path / "queries.npy", np.ones((2500, 2), np.float32))
    assert [len(block) for block in read_queries(tmp_path / "queries.npy")] == [1000, 1000, 500]
