from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from data.content import content_id
from data.id_tables import IdTable, keys_of

ids = st.one_of(st.text(max_size=40), st.integers(0, 30).map(lambda n: content_id(str(n))))


@given(held=st.lists(ids, max_size=30), asked=st.lists(ids, max_size=30))
def test_positions_are_those_of_a_list(held: list[str], asked: list[str]) -> None:
    table = IdTable.of([pa.array(held[:3], pa.string()), pa.array(held[3:], pa.string())])
    wanted = pa.chunked_array([pa.array(asked[:2], pa.string()), pa.array(asked[2:], pa.string())])
    expected = [held.index(one) if one in held else -1 for one in asked]
    assert table.positions(wanted).tolist() == expected
    assert table.size == len(held)


def test_ids_that_share_their_first_half_are_told_apart() -> None:
    held = [f"{'0' * 16}{n:016x}" for n in range(50)]
    asked = [*reversed(held), "0" * 16 + "f" * 16, "f" * 32]
    found = IdTable(keys_of(pa.array(held))).positions(pa.array(asked))
    assert found.tolist() == [*reversed(range(50)), -1, -1]


def test_of_many_ids_each_is_found_where_it_comes_first() -> None:
    names = [content_id(str(n)) for n in np.random.default_rng(0).integers(0, 3000, 5000)]
    held, asked = names[:4000], [*names[3000:], "0" * 32, "f" * 32]
    first = {one: place for place, one in reversed(list(enumerate(held)))}
    found = IdTable(keys_of(pa.array(held))).positions(pa.array(asked))
    assert found.tolist() == [first.get(one, -1) for one in asked]


def test_ids_that_begin_alike_are_found_too() -> None:
    held = [f"{7:08x}{n:08x}{n % 3:016x}" for n in range(500)]
    asked = [*reversed(held), f"{7:08x}{500:08x}{0:016x}", f"{7:08x}{3:08x}{1:016x}", "0" * 32]
    found = IdTable(keys_of(pa.array(held))).positions(pa.array(asked))
    assert found.tolist() == [*reversed(range(500)), -1, -1, -1]


def test_a_slice_of_a_column_has_its_own_ids() -> None:
    column = pa.array([content_id(str(n)) for n in range(100)])
    np.testing.assert_array_equal(keys_of(column)[30:40], keys_of(column.slice(30, 10)))
