"""Seals find every flipped bit of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.seals import UnsealedError, is_sealed, seal
from data.shards import SpaceId, finished_shard, write_shard

if TYPE_CHECKING:
    from pathlib import Path

SPACE = SpaceId("cnn", "f00d", 4, "cosine")


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seals") / "a.parquet"
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    write_shard(path, SPACE, [f"{n:032x}" for n in range(12)], vectors)
    return path


def test_a_written_shard_is_sealed(shard: Path) -> None:
    assert is_sealed(shard)
    assert pq.read_table(shard).num_rows == 12


def test_every_flipped_byte_breaks_the_seal(shard: Path, tmp_path: Path) -> None:
    content = shard.read_bytes()
    damaged = tmp_path / "damaged.parquet"
    for position in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        damaged.write_bytes(flipped)
        assert not is_sealed(damaged), position


@settings(max_examples=20)
@given(cut=st.integers(1, 120), added=st.binary(min_size=1, max_size=8))
def test_cut_and_lengthened_files_are_not_sealed(
    shard: Path, tmp_path_factory: pytest.TempPathFactory, cut: int, added: bytes
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.parquet"
    path.write_bytes(shard.read_bytes()[:-cut])
    assert not is_sealed(path)
    path.write_bytes(shard.read_bytes() + added)
    assert not is_sealed(path)


def test_a_file_without_room_is_unsealed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    assert not is_sealed(path)
    with pytest.raises(UnsealedError):
        seal(path)
    path.write_bytes(b"")
    assert not is_sealed(path)


def test_a_damaged_shard_does_not_count_as_finished(shard: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    content = bytearray(shard.read_bytes())
    assert finished_shard(shard, SPACE) is not None
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    assert finished_shard(path, SPACE) is None
