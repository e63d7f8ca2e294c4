"""Verify a lake whole: tables and shards by the data layer, indexes against the vectors here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from data.catalog import space_versions
from data.maintenance.findings import MEND, RUN, Finding, ForgetBuilds
from data.maintenance.shard_checks import check_shards
from data.maintenance.table_checks import (
    check_catalog,
    check_references,
    check_snapshots,
    check_tables,
)
from data.shards import shard_paths
from data.vectors import open_vectors
from latentlake.errors import LatentlakeError
from models.types import Metric
from tasks.stages.builds import last_build
from tasks.stages.indexing import CONTENTS_FILE, stored_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from models.indexes.vector_index import VectorIndex

SAMPLED_VECTORS: Final = 256
"""Vectors that are looked up in an index."""
_SAMPLE_K: Final = 10
_LEAST_FOUND: Final = 0.5
"""Approximate indexes miss some vectors, and copies share a place; an index of other vectors finds
next to none."""
_REBUILD: Final = f"{MEND} forgets what was built, then {RUN} builds it again."


def verify_lake(lake: Lake, snapshot: Snapshot | None = None) -> Iterator[Finding]:
    """Look at everything that a snapshot names, by default the last, and yield what is wrong.

    Raises:
        LakeNotFoundError: there is no snapshot.
        SchemaVersionError: the snapshot's tables have another layout than this code's.
    """
    last = lake.snapshot()
    seen = snapshot or last
    yield from check_snapshots(lake)
    yield from check_tables(lake, seen)
    try:
        spaces = space_versions(lake, snapshot=seen)
    except (pa.ArrowException, DeltaError, OSError) as error:
        yield Finding("spaces", f"cannot be read: {error}", "'latentlake restore NUMBER'.")
        return
    for space in spaces:
        shards = list(check_shards(lake, space.id, seen))
        yield from shards
        yield from check_references(lake, seen, space)
        yield from check_index(lake, space, seen, whole_shards=not shards)
    yield from check_catalog(lake, last)


def check_index(
    lake: Lake, space: SpaceRow, snapshot: Snapshot, *, whole_shards: bool = True
) -> Iterator[Finding]:
    """Hold a space's index against the space and its vectors.

    Args:
        lake: where both are.
        space: the space.
        snapshot: the state to look at.
        whole_shards: whether the vectors can be read and so compared.
    """
    build = last_build(lake, "index", space, snapshot)
    if build is None:
        return
    details = json.loads(build["details"])
    subject, rows = str(details["path"]), details.get("rows", build["rows"])
    try:
        stored = stored_index(lake, space, snapshot)
    except (LatentlakeError, pa.ArrowException, OSError) as error:
        yield _wrong(subject, space, str(error))
        return
    if stored is None:
        return
    index, contents = stored
    if index.dim != space.id.dim:
        yield _wrong(subject, space, f"{index.dim} dimensions, the space has {space.id.dim}")
    elif index.metric != Metric(space.id.metric):
        yield _wrong(subject, space, f"metric {index.metric}, the space has {space.id.metric}")
    elif index.rows != rows:
        yield _wrong(subject, space, f"{index.rows} rows, {rows} were built")
    elif whole_shards:
        yield from _check_rows(lake, space, snapshot, (subject, index, contents))


def _check_rows(
    lake: Lake, space: SpaceRow, snapshot: Snapshot, held: tuple[str, VectorIndex, pa.Array]
) -> Iterator[Finding]:
    subject, index, contents = held
    if pc.count_distinct(contents).as_py() != len(contents):
        yield _wrong(subject, space, f"{CONTENTS_FILE} names a content twice")
        return
    vectors = open_vectors(shard_paths(lake, space.id, snapshot), space.id.dim, contents)
    # A content that was dropped since is no damage: readers pass over what no item points to.
    rows = pc.index_in(vectors.content_ids, value_set=contents).to_numpy()
    if not len(rows):
        return
    chosen = np.unique(np.linspace(0, len(rows) - 1, SAMPLED_VECTORS).astype(np.int64))
    queries = vectors.take(vectors.content_ids.take(pa.array(chosen)).to_pylist())
    found = index.search(queries, min(_SAMPLE_K, index.rows))
    hits = (found.rows == rows[chosen][:, None]).any(axis=1)
    if hits.mean() < _LEAST_FOUND:
        problem = f"finds {int(hits.sum())} of {len(hits)} vectors of its own in their place"
        yield _wrong(subject, space, problem)


def _wrong(subject: str, space: SpaceRow, problem: str) -> Finding:
    return Finding(subject, problem, _REBUILD, ForgetBuilds(space.key))
