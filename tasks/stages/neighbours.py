"""The neighbour graph of a space: computed once, read by every report."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schemas import NEIGHBOURS
from latentlake.errors import LakeError
from models.analysis.graph import GraphOptions, NeighbourGraph, build_graph
from models.indexes.results import NO_ROW, NO_SIMILARITY
from models.types import Metric
from tasks.stages.builds import BuildStep, Built, build_if_changed, progress_of
from tasks.stages.indexing import stored_index
from tasks.stages.spaces import require_space, space_vectors

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.vector_index import VectorIndex
    from tasks.stages.receipts import StageReceipt


def link_neighbours(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Rebuild the space's neighbour graph if its vectors or k have changed."""
    space = require_space(lake, settings, name)
    vectors = space_vectors(lake, settings, space)
    k = settings.space(name).neighbours

    def work() -> Built:
        graph = build_graph(
            vectors,
            index_over(lake, space, vectors),
            Metric(space.id.metric),
            k,
            GraphOptions(seed=settings.run.seed),
            progress_of("graph", space),
        )
        lake.replace_space("neighbours", name, _rows(name, vectors, graph), run_id)
        if graph.recall is None:
            return Built({"contents": vectors.rows}, {"k": k, "exact": True}, ("exact",))
        details = {"k": k, "exact": False, "recall": asdict(graph.recall)}
        note = f"recall@{graph.recall.k} {graph.recall.mean:.3f}"
        return Built({"contents": vectors.rows}, details, (note,))

    step = BuildStep("graph", space, {"k": k, "seed": settings.run.seed})
    return build_if_changed(lake, step, vectors, run_id, work)


def index_over(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> VectorIndex | None:
    """Return the space's index if it is over exactly these vectors."""
    stored = stored_index(lake, space)
    if stored is None or not stored[1].equals(vectors.content_ids):
        return None
    return stored[0]


def stored_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> NeighbourGraph:
    """Read the space's graph back, in the row order of its vectors.

    Raises:
        LakeError: the graph is missing, or of other vectors.
    """
    table = lake.read("neighbours", where=pc.field("space") == space.id.name)
    order = pc.index_in(vectors.content_ids, value_set=table["content_id"].combine_chunks())
    if order.null_count or table.num_rows != vectors.rows:
        raise LakeError(
            f"space '{space.id.name}': the neighbour graph is not of these vectors. "
            "'latentlake graph' renews it."
        )
    table = table.take(order)
    lists = table["neighbours"].combine_chunks()
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    k = int(counts.max()) if len(counts) else 0
    present = np.arange(k) < counts[:, None]
    rows = np.full((vectors.rows, k), NO_ROW, np.int64)
    similarities = np.full((vectors.rows, k), NO_SIMILARITY, np.float32)
    rows[present] = pc.index_in(lists.flatten(), value_set=vectors.content_ids).to_numpy()
    similarities[present] = table["similarities"].combine_chunks().flatten().to_numpy()
    return NeighbourGraph(rows, similarities, Metric(space.id.metric), None)


def _rows(name: str, vectors: ShardVectors, graph: NeighbourGraph) -> pa.Table:
    present = graph.rows != NO_ROW
    offsets = pa.array(np.concatenate(([0], np.cumsum(present.sum(axis=1)))).astype(np.int32))
    neighbours = vectors.content_ids.take(pa.array(graph.rows[present]))
    similarities = pa.array(graph.similarities[present], pa.float32())
    columns = [
        pa.array([name] * vectors.rows, pa.string()),
        vectors.content_ids,
        pa.ListArray.from_arrays(offsets, neighbours),
        pa.ListArray.from_arrays(offsets, similarities),
    ]
    return pa.Table.from_arrays(columns, names=NEIGHBOURS.columns.names)
