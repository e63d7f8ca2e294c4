"""The neighbour graph of a space: kept up to date with its vectors, read by every report."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schemas import NEIGHBOURS
from latentlake.errors import LakeError
from models.analysis.graph import (
    GraphOptions,
    NeighbourGraph,
    build_graph,
    is_exact_affordable,
)
from models.analysis.graph_update import MOST_CHANGED, GraphUpdate, OldGraph, update_graph
from models.indexes.results import NO_ROW, no_neighbours
from models.types import Metric
from tasks.stages.builds import (
    BuildStep,
    Built,
    build_if_changed,
    previous_details,
    progress_of,
)
from tasks.stages.indexing import index_over, rows_among
from tasks.stages.spaces import require_space, space_vectors

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.row_view import RowView
    from tasks.stages.receipts import StageReceipt


def link_neighbours(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Bring the space's neighbour graph up to date, if its vectors or k have changed."""
    space = require_space(lake, settings, name)
    vectors = space_vectors(lake, settings, space)
    k, seed = settings.space(name).neighbours, settings.run.seed
    step = BuildStep("graph", space, {"k": k, "seed": seed})

    def work() -> Built:
        index = index_over(lake, space, vectors)
        made = _updated(lake, step, vectors, index, GraphOptions(seed=seed))
        if isinstance(made, str):
            graph = build_graph(
                vectors,
                index,
                Metric(space.id.metric),
                k,
                GraphOptions(seed=seed),
                progress_of("graph", space),
            )
            update, changed = made, vectors.rows
        else:
            graph, changed = made.graph, made.changed.size
            update = f"updated: {changed:,} of {vectors.rows:,} lists"
        lake.replace_space("neighbours", name, _rows(name, vectors, graph), run_id)
        counts = {"contents": vectors.rows, "changed": changed}
        details: dict[str, Any] = {"k": k, "exact": graph.is_exact, "update": update}
        if graph.recall is None:
            return Built(counts, details, ("exact", update))
        details["recall"] = asdict(graph.recall)
        note = f"recall@{graph.recall.k} {graph.recall.mean:.3f}"
        return Built(counts, details, (note, update))

    return build_if_changed(lake, step, vectors, run_id, work)


def _updated(
    lake: Lake,
    step: BuildStep,
    vectors: ShardVectors,
    index: RowView | None,
    options: GraphOptions,
) -> GraphUpdate | str:
    """Update the stored graph; or say why it has to be rebuilt."""
    details = previous_details(lake, step)
    if details is None:
        return "rebuilt: there was no graph of this recipe"
    old = _old_graph(lake, step.space, vectors, details["k"])
    if old.changed_share > MOST_CHANGED:
        return f"rebuilt: {old.changed_share:.0%} of the lists would change"
    if is_exact_affordable(vectors, options) and not details["exact"]:
        return "rebuilt: small enough to be exact now"
    update = update_graph(vectors, index, old, options)
    if details["exact"] or update.graph.recall is None:
        return update
    if update.graph.recall.high < details["recall"]["low"]:
        return f"rebuilt: recall had fallen to {update.graph.recall.mean:.3f}"
    return update


def stored_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> NeighbourGraph:
    """Read the space's graph back, in the row order of its vectors.

    Raises:
        LakeError: the graph is missing, or of other vectors.
    """
    old = _old_graph(lake, space, vectors, None)
    if old.fresh.size or old.torn.size:
        raise LakeError(
            f"space '{space.id.name}': the neighbour graph is not of these vectors. "
            "'latentlake graph' renews it."
        )
    return NeighbourGraph(old.lists.rows, old.lists.similarities, old.metric, None)


def _old_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors, k: int | None) -> OldGraph:
    """Read the stored lists in the row order of these vectors, k wide (by default as they are)."""
    table = lake.read("neighbours", where=pc.field("space") == space.id.name)
    order = pc.index_in(vectors.content_ids, value_set=table["content_id"].combine_chunks())
    has_list = np.asarray(order.is_valid())
    table = table.take(order.drop_null())
    lists = table["neighbours"].combine_chunks()
    counts = np.zeros(vectors.rows, np.int64)
    counts[has_list] = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    k = int(counts.max(initial=0)) if k is None else k
    found = no_neighbours(vectors.rows, k)
    present = np.arange(k) < counts[:, None]
    found.rows[present] = rows_among(lists.flatten(), vectors.content_ids)
    found.similarities[present] = table["similarities"].combine_chunks().flatten().to_numpy()
    torn = (present & (found.rows == NO_ROW)).any(axis=1)
    return OldGraph(
        found,
        Metric(space.id.metric),
        np.flatnonzero(~has_list).astype(np.int64),
        np.flatnonzero(torn).astype(np.int64),
    )


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
