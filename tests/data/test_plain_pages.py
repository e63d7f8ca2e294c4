"""Vectors taken from the bytes of a shard's pages, against Arrow's reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.plain_pages import plain_rows
from data.shards import SpaceId, write_shard
from data.vectors import ShardVectors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("rows", "dim"), [(1, 3), (700, 100), (20_000, 7), (3_000, 384)])
def test_rows_of_a_shard_are_those_that_arrow_reads(tmp_path: Path, rows: int, dim: int) -> None:
    random = np.random.default_rng(rows)
    vectors = random.normal(size=(rows, dim)).astype(np.float32)
    path = tmp_path / "shard.parquet"
    ids = [f"{number:032x}" for number in range(rows)]
    write_shard(path, SpaceId("words", "f", dim, "cosine"), ids, vectors)
    metadata, start = pq.read_metadata(path), 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        for wanted in ([], [0], [count - 1], random.permutation(count)[: count // 5 + 1]):
            chosen = np.sort(np.asarray(wanted, np.int64))
            found = plain_rows(path, metadata.row_group(group).column(1), dim, chosen)
            assert found is not None
            np.testing.assert_array_equal(found, vectors[start + chosen])
        start += count
    used = np.zeros(rows, np.bool_)
    used[random.permutation(rows)[: max(1, rows // 50)]] = True
    few = ShardVectors((str(path),), pa.array(ids).filter(pa.array(used)), dim, used, (rows,))
    np.testing.assert_array_equal(np.concatenate(list(few.batches(64))), vectors[used])
    assert all(len(batch) <= 64 for batch in few.batches(64))


@pytest.mark.parametrize(
    "options",
    [
        {"use_dictionary": True},
        {"compression": "zstd"},
        {"data_page_version": "2.0"},
        {"column_encoding": {"vector.list.element": "BYTE_STREAM_SPLIT"}},
        {"data_page_size": 64},
    ],
    ids=["dictionary", "compressed", "second version", "split", "pages of parts"],
)
def test_other_pages_are_left_to_arrow(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "other.parquet"
    values = pa.array(np.zeros(5 * 64, np.float32))
    table = pa.table({"content_id": list("abcde"), "vector": _vectors(values, 64)})
    plain = {"use_dictionary": False, "compression": "none"}
    pq.write_table(table, path, **plain | options)
    chunk = pq.read_metadata(path).row_group(0).column(1)
    found = plain_rows(path, chunk, 64, np.array([1, 3]))
    assert found is None or (found == 0).all()
    if "data_page_size" not in options:
        assert found is None


def test_a_page_with_a_null_is_left_to_arrow(tmp_path: Path) -> None:
    path = tmp_path / "null.parquet"
    vectors = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    table = pa.table({"content_id": list("abc"), "vector": vectors})
    pq.write_table(table, path, use_dictionary=False, compression="none")
    chunk = pq.read_metadata(path).row_group(0).column(1)
    assert plain_rows(path, chunk, 2, np.array([2])) is None


def test_a_damaged_header_is_left_to_arrow(tmp_path: Path) -> None:
    path, vectors = tmp_path / "shard.parquet", np.ones((50, 6), np.float32)
    ids = [f"{number:032x}" for number in range(50)]
    write_shard(path, SpaceId("words", "f", 6, "cosine"), ids, vectors)
    chunk, content = pq.read_metadata(path).row_group(0).column(1), path.read_bytes()
    begin = content.index(vectors.tobytes())
    damaged = tmp_path / "damaged.parquet"
    outcomes = set()
    for at in range(chunk.data_page_offset, begin):
        for value in (0, 1, 0x15, 0x7F, 0x80, 0xFF):
            damaged.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
            found = plain_rows(damaged, chunk, 6, np.array([0, 49]))
            outcomes.add(found is None)
            assert found is None or found.shape == (2, 6)
    assert True in outcomes


def _vectors(values: pa.Array, dim: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(values, dim)
