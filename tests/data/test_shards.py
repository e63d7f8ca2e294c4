"""Shards: written whole, read back equal, registered once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.content import digest_of_ids
from data.lake import Lake
from data.shards import (
    Rejected,
    SpaceId,
    finished_shard,
    read_footer,
    register_shards,
    shard_name,
    shard_paths,
    write_shard,
)
from data.vectors import ShardVectors, open_vectors
from latentlake.errors import ShardError

SPACE = SpaceId("cnn", "f00d", 4, "cosine")


def vectors(rows: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


def test_a_shard_reads_back_as_fixed_size_lists_with_norms(tmp_path: Path) -> None:
    matrix = vectors(3)
    write_shard(tmp_path / "a.parquet", SPACE, ["x", "y", "z"], matrix)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("vector").type == pa.list_(
        pa.field("element", pa.float32(), nullable=False), 4
    )
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), matrix)
    np.testing.assert_allclose(table["norm"].to_numpy(), np.linalg.norm(matrix, axis=1), rtol=1e-6)
    column = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(1)
    assert column.compression == "UNCOMPRESSED"
    assert "PLAIN_DICTIONARY" not in column.encodings
    assert "RLE_DICTIONARY" not in column.encodings


def test_the_footer_says_whose_vectors_these_are(tmp_path: Path) -> None:
    rejected = [Rejected("bad", "decode", "BadInputError", "no image")]
    path = tmp_path / "a.parquet"
    write_shard(path, SPACE, ["x"], vectors(1), rejected=rejected, encoder={"weights": "w1"})
    footer = read_footer(path)
    assert footer["space"] == "cnn"
    assert footer["fingerprint"] == "f00d"
    assert footer["dim"] == 4
    assert footer["metric"] == "cosine"
    assert footer["encoder"] == {"weights": "w1"}
    assert footer["content_digest"] == digest_of_ids(["x"])
    receipt = finished_shard(path, SPACE)
    assert receipt is not None
    assert receipt.reused
    assert receipt.rejected == tuple(rejected)


def test_the_same_plan_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_shard(tmp_path / name, SPACE, ["x", "y"], vectors(2))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "foreign", "absent", "other fingerprint"])
def test_only_a_whole_shard_of_this_space_counts_as_finished(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.parquet"
    write_shard(path, SPACE, ["x"], vectors(1))
    space = SPACE
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-20])
        case "foreign":
            pq.write_table(pa.table({"content_id": ["x"]}), path)
        case "absent":
            path.unlink()
        case _:
            space = replace(SPACE, fingerprint="beef")
    assert finished_shard(path, space) is None


def test_vectors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"not float32 \(rows, 4\)"):
        write_shard(tmp_path / "a.parquet", SPACE, ["x", "y"], vectors(1))
    broken = vectors(1)
    broken[0, 0] = np.nan
    with pytest.raises(ShardError, match="not finite"):
        write_shard(tmp_path / "a.parquet", SPACE, ["x"], broken)
    assert list(tmp_path.iterdir()) == []


def test_the_name_depends_on_space_contents_and_their_order() -> None:
    names = {
        shard_name(SPACE, ["a", "b"]),
        shard_name(SPACE, ["b", "a"]),
        shard_name(SPACE, ["ab"]),
        shard_name(replace(SPACE, fingerprint="beef"), ["a", "b"]),
    }
    assert len(names) == 4
    assert shard_name(SPACE, ["a", "b"]) == shard_name(replace(SPACE, name="other"), ["a", "b"])


def test_registering_twice_is_registering_once(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    receipts = [
        write_shard(tmp_path / SPACE.folder / f"{n}.parquet", SPACE, [n], vectors(1)) for n in "ab"
    ]
    assert register_shards(lake, SPACE, receipts, "r1") == 2
    assert register_shards(lake, SPACE, receipts, "r2") == 0
    assert [Path(path).name for path in shard_paths(lake, SPACE)] == ["a.parquet", "b.parquet"]
    snapshot = lake.commit_snapshot("r2")
    more = write_shard(tmp_path / SPACE.folder / "c.parquet", SPACE, ["c"], vectors(1))
    assert register_shards(lake, SPACE, [more], "r3") == 1
    assert len(shard_paths(lake, SPACE)) == 3
    assert len(shard_paths(lake, SPACE, snapshot)) == 2


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    shards=st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=5), max_size=4),
    active=st.sets(st.sampled_from("abcdefgh")),
    batch=st.integers(1, 6),
)
def test_streamed_vectors_are_the_first_of_each_active_content(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[str]], active: set[str], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    expected: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    paths = []
    for number, ids in enumerate(shards):
        matrix = vectors(len(ids), seed=number)
        paths.append(str(folder / f"{number}.parquet"))
        write_shard(Path(paths[-1]), SPACE, ids, matrix)
        for content, row in zip(ids, matrix, strict=True):
            if content in active:
                expected.setdefault(content, row)
    found = open_vectors(paths, 4, pa.array(sorted(active), pa.string()))
    assert found.content_ids.to_pylist() == list(expected)
    streamed = [np.empty((0, 4), np.float32), *found.batches(batch)]
    assert all(len(part) <= batch for part in streamed)
    np.testing.assert_array_equal(
        np.concatenate(streamed), np.array(list(expected.values()), np.float32).reshape(-1, 4)
    )
    asked = sorted(expected, reverse=True)
    np.testing.assert_array_equal(
        found.take(asked), np.array([expected[c] for c in asked], np.float32).reshape(-1, 4)
    )


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    parts=st.lists(
        st.tuples(
            st.integers(0, 9_000),
            st.integers(0, 4_000),
            st.sampled_from(["as stored", "reversed", "gone"]),
        ),
        max_size=6,
    ),
    chunked=st.booleans(),
)
def test_rows_of_ids_in_stored_and_other_orders(
    parts: list[tuple[int, int, str]], chunked: bool
) -> None:
    stored = [digest_of_ids([str(number)]) for number in range(10_000)]
    row_of = {one: row for row, one in enumerate(stored)}
    ids: list[str] = []
    for start, length, order in parts:
        part = stored[start : start + length]
        ids += part[::-1] if order == "reversed" else part
        ids += ["gone"] if order == "gone" else []
    used = np.ones(len(stored), np.bool_)
    held = ShardVectors((), pa.array(stored), 4, used, (len(stored),))
    asked = pa.array(ids, pa.string())
    found = held.rows_of(pa.chunked_array([asked]) if chunked else asked)
    assert found.tolist() == [row_of.get(one, -1) for one in ids]
