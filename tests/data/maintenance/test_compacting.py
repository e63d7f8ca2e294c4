"""Compaction: the same rows in fewer files, and nobody notices."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from data.lake import table_of
from data.maintenance.compacting import compact_space, compact_tables
from data.seals import is_sealed
from data.shards import shard_paths
from data.vectors import open_vectors
from latentlake.errors import ShardError

if TYPE_CHECKING:
    from collections.abc import Callable

    from data.vectors import ShardVectors
    from tests.data.maintenance.conftest import Toy


def rows_of(toy: Toy, names: list[str] | None = None) -> ShardVectors:
    active = names or [toy.content(str(n)) for n in range(100)]
    paths = shard_paths(toy.lake, toy.space)
    return open_vectors(paths, toy.space.dim, pa.array(active))


@settings(max_examples=10)
@given(
    shards=st.lists(
        st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True),
        min_size=1,
        max_size=8,
        unique_by=tuple,
    ),
    target=st.integers(1, 20),
    used=st.none() | st.sets(st.integers(0, 30)),
)
def test_ids_vectors_and_their_order_stay(
    make_toy: Callable[[], Toy], shards: list[list[int]], target: int, used: set[int] | None
) -> None:
    toy = make_toy()
    for shard in shards:
        toy.shard([toy.content(str(n)) for n in shard])
    before_snapshot = toy.lake.commit_snapshot("before")
    in_use = [toy.content(str(n)) for n in (used if used is not None else range(31))]
    before = rows_of(toy, in_use or ["none"])
    bits = b"".join(batch.tobytes() for batch in before.batches(5))
    old_paths = shard_paths(toy.lake, toy.space)

    kept = None if used is None else pa.array(in_use, pa.string())
    done = compact_space(toy.lake, toy.space, target, "compact", kept)

    after = rows_of(toy, in_use or ["none"])
    assert after.content_ids.equals(before.content_ids)
    assert after.digest == before.digest
    assert b"".join(batch.tobytes() for batch in after.batches(5)) == bits
    paths = shard_paths(toy.lake, toy.space)
    assert all(is_sealed(Path(path)) for path in paths)
    # No id stands twice, and no two neighbours would fit into one shard.
    everything = rows_of(toy)
    assert len(everything.used) == everything.rows
    assert len(paths) <= 2 * max(everything.rows, 1) / target + 1
    lengths = [len(rows_of_one(path, toy)) for path in paths]
    assert all(a + b > target for a, b in pairwise(lengths))
    if used is not None:
        assert set(everything.content_ids.to_pylist()) <= set(in_use)
    assert done.folded == sum(map(len, shards)) - len({n for shard in shards for n in shard})
    # Readers of the older snapshot still have all their files.
    assert shard_paths(toy.lake, toy.space, before_snapshot) == old_paths
    assert all(Path(path).is_file() for path in old_paths)


def rows_of_one(path: str, toy: Toy) -> list[str]:
    ids: list[str] = open_vectors(
        [path], toy.space.dim, pa.array([toy.content(str(n)) for n in range(31)])
    ).content_ids.to_pylist()
    return ids


def test_a_second_compaction_has_nothing_to_do(toy: Toy) -> None:
    for n in range(6):
        toy.shard([toy.content(str(n))])
    assert compact_space(toy.lake, toy.space, 100, "a").added == 1
    version = DeltaTable(str(toy.root / toy.space.folder)).version()
    assert compact_space(toy.lake, toy.space, 100, "b").removed == 0
    assert DeltaTable(str(toy.root / toy.space.folder)).version() == version


def test_it_is_one_commit_that_changes_no_data(toy: Toy) -> None:
    for n in range(4):
        toy.shard([toy.content(str(n))])
    table = DeltaTable(str(toy.root / toy.space.folder))
    compact_space(toy.lake, toy.space, 100, "run-7")
    after = DeltaTable(str(toy.root / toy.space.folder))
    assert after.version() == table.version() + 1
    assert after.history(1)[0]["run_id"] == "run-7"
    log = (toy.root / toy.space.folder / "_delta_log" / f"{after.version():020d}.json").read_text()
    assert log.count('"remove"') == 4
    assert log.count('"add"') == 1
    assert '"dataChange":true' not in log


def test_a_shard_of_another_space_is_refused(toy: Toy) -> None:
    from dataclasses import replace

    path = toy.shard([toy.content("a")])
    toy.shard([toy.content("b")])
    foreign = toy.write([toy.content("a")], replace(toy.space, fingerprint="beef"))
    path.write_bytes(foreign.read_bytes())
    with pytest.raises(ShardError, match="is beef, the space's is f00d"):
        compact_space(toy.lake, toy.space, 100, "run")


def test_small_files_of_tables_are_joined(toy: Toy) -> None:
    for n in range(9):
        rows = table_of("runs", [{"run_id": f"r{n}", "counts": "{}"}])
        toy.lake.upsert("runs", rows, "run")
    before = toy.lake.commit_snapshot("run")
    files = len(toy.lake.files("runs"))
    lost = compact_tables(toy.lake, "compact")
    assert len(toy.lake.files("runs")) == files - lost["runs"] == 1
    assert compact_tables(toy.lake, "compact") == {}
    assert sorted(toy.lake.read("runs")["run_id"].to_pylist()) == [f"r{n}" for n in range(9)]
    assert toy.lake.read("runs", snapshot=before).num_rows == 9
