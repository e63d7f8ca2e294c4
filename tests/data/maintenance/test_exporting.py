"""Exports hold what readers see, in every format."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from data.lake import table_of
from data.maintenance.exporting import read_rows, write_arrow, write_npy
from data.schemas import TABLES
from latentlake.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.data.maintenance.conftest import Toy


@pytest.fixture(scope="module")
def grown(make_toy: Callable[[], Toy]) -> Toy:
    toy = make_toy()
    toy.run({"a": "p", "b": "q", "copy": "p"})
    toy.run({"c": "r"}, gone=["b"])
    toy.shard([toy.content("p"), toy.content("s")])  # a content twice, and one without an item
    toy.snapshot("last")
    return toy


def of_space(toy: Toy, number: int) -> dict[str, bytes]:
    reader = read_rows(toy.lake, "cnn", toy.lake.snapshot(number))
    rows = reader.read_all().to_pylist()
    found = {r["content_id"]: np.array(r["vector"], np.float32).tobytes() for r in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_space_has_the_contents_in_use_as_of_a_snapshot(grown: Toy, number: int) -> None:
    contents = set(grown.states[number].values())
    assert of_space(grown, number) == {c: grown.vector(c).tobytes() for c in contents}


def test_numpy_gets_a_matrix_and_its_ids(grown: Toy) -> None:
    vectors, ids = io.BytesIO(), io.BytesIO()
    rows = write_npy(grown.lake, "cnn", grown.lake.snapshot(), vectors, ids)
    vectors.seek(0)
    matrix = np.load(vectors)
    names = ids.getvalue().decode().splitlines()
    assert matrix.shape == (rows, 4) == (len(names), 4)
    assert matrix.dtype == np.float32
    for name, row in zip(names, matrix, strict=True):
        assert row.tobytes() == grown.vector(name).tobytes()


def test_arrow_keeps_lists_of_a_fixed_size(grown: Toy) -> None:
    stream = io.BytesIO()
    write_arrow(read_rows(grown.lake, "cnn", grown.lake.snapshot()), stream)
    table = pyarrow.ipc.open_file(pa.py_buffer(stream.getvalue())).read_all()
    kind = table.schema.field("vector").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.list_size == 4
    assert set(table["content_id"].to_pylist()) == set(grown.items.values())


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_read_with_its_schema(grown: Toy, name: str) -> None:
    if TABLES[name].per_space:
        row = {"space": "cnn", "content_id": "x", "item_id": "x", "cluster_id": 1}
        names = TABLES[name].columns.names
        rows = table_of(name, [{k: v for k, v in row.items() if k in names}])
        grown.lake.replace_space(name, "cnn", rows, "run")
        grown.snapshot("rows")
    snapshot = grown.lake.snapshot()
    table = read_rows(grown.lake, name, snapshot).read_all()
    assert table.schema.equals(TABLES[name].columns)
    assert table.num_rows == grown.lake.read(name, snapshot=snapshot).num_rows


def test_an_unknown_name_is_told_the_nearest(grown: Toy) -> None:
    snapshot = grown.lake.snapshot()
    with pytest.raises(QueryError, match="Did you mean 'items'"):
        read_rows(grown.lake, "itms", snapshot)
    with pytest.raises(QueryError, match="Spaces: cnn"):
        write_npy(grown.lake, "items", snapshot, io.BytesIO(), io.BytesIO())
