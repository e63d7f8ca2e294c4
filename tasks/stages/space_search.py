"""A space that is ready for search: its index, or its shards, and which contents may be found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from data.shards import shard_paths
from data.vectors import open_vectors
from models.indexes.exact import exact_search
from models.types import Metric
from tasks.stages.index_device import on_its_device
from tasks.stages.indexing import stored_index

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.cuda import CudaIndex
    from models.indexes.results import Neighbours
    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix, RowIds


@dataclass(frozen=True, slots=True)
class SpaceSearch:
    """What answers.

    Attributes:
        ids: the content of each row.
        method: the factory string of the index that answers, or "exact".
        unindexed: vectors of the space that are newer than the index, and so are not searched.
        metric: of the space.
        index: None where the space has none.
        vectors: what is searched then; contents that may not be found are not among them.
        allowed: rows of the index that may be found; None for all.
    """

    ids: pa.Array
    method: str
    unindexed: int
    metric: Metric
    index: VectorIndex | CudaIndex | None
    vectors: ShardVectors | None
    allowed: RowIds | None

    def nearest(self, queries: Matrix, k: int) -> Neighbours:
        """Find the k nearest contents of each query, (queries, dim) float32, as rows of `ids`."""
        if self.index is not None:
            return self.index.search(queries, k, self.allowed)
        assert self.vectors is not None  # noqa: S101
        return exact_search(self.vectors, queries, k, self.metric)


def open_search(
    lake: Lake,
    settings: Settings,
    snapshot: Snapshot,
    connection: duckdb.DuckDBPyConnection,
    space: SpaceRow,
    allowed: pa.Array,
) -> SpaceSearch:
    """Make a space ready.

    Args:
        lake: where it is.
        settings: where its index is searched.
        snapshot: as of when.
        connection: over the same snapshot.
        space: where to look.
        allowed: the contents that may be found.
    """
    metric = Metric(space.id.metric)
    stored = stored_index(lake, space, snapshot)
    if stored is None:
        paths = shard_paths(lake, space.id, snapshot)
        vectors = open_vectors(paths, space.id.dim, allowed)
        return SpaceSearch(vectors.content_ids, "exact", 0, metric, None, vectors, None)
    index, ids = on_its_device(stored[0], settings, space), stored[1]
    usable = np.asarray(pc.is_in(ids, value_set=allowed))
    rows = None if usable.all() else np.flatnonzero(usable).astype(np.int64)
    unindexed = _unindexed(connection, space, ids)
    return SpaceSearch(ids, index.plan.factory, unindexed, metric, index, None, rows)


def _unindexed(connection: duckdb.DuckDBPyConnection, space: SpaceRow, indexed: pa.Array) -> int:
    view = connection.view(f"embeddings_{space.id.name}").project("content_id")
    held = view.distinct().to_arrow_table()["content_id"]
    return len(held) - int(pc.sum(pc.is_in(held, value_set=indexed)).as_py() or 0)
