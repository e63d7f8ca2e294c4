"""The neighbour graph of a space: kept up to date with its vectors, read by every report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.result_schemas import NEIGHBOURS
from data.space_files import numbered_lists, offsets_of, read_numbered
from latentlake.errors import LakeError, SpaceMismatchError
from models.analysis.graph import (
    GraphOptions,
    NeighbourGraph,
    build_graph,
    is_exact_affordable,
)
from models.analysis.graph_update import MOST_CHANGED, OldGraph, remeasured, update_graph
from models.indexes.growth import MOST_UNMEASURED
from models.indexes.results import NO_ROW, no_neighbours
from models.types import Metric
from tasks.stages.builds import (
    BuildStep,
    Built,
    Details,
    build_if_changed,
    progress_of,
)
from tasks.stages.indexing import index_over, rows_among
from tasks.stages.spaces import require_space, space_vectors

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.recall import RecallEstimate
    from models.indexes.row_view import RowView
    from tasks.stages.receipts import StageReceipt


def link_neighbours(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Bring the space's neighbour graph up to date, if its vectors or k have changed."""
    space = require_space(lake, settings, name)
    vectors = space_vectors(lake, settings, space)
    k, options = settings.space(space.id.name).neighbours, GraphOptions(seed=settings.run.seed)
    step = BuildStep("graph", space, {"k": k, "seed": options.seed})

    def work(last: Details | None) -> Built:
        index = index_over(lake, space, vectors)
        old = _old_graph(lake, space, vectors, k) if last else None
        made = _updated(old, vectors, index, last, options)
        if isinstance(made, str):
            graph = build_graph(
                vectors, index, Metric(space.id.metric), k, options, progress_of("graph", space)
            )
            measured = _measurement(graph.recall, vectors.rows) if graph.recall else None
            made = _Made(graph, vectors.rows, made, measured)
        lake.replace_space("neighbours", space.key, _rows(space.key, vectors, made.graph), run_id)
        exact = made.measured is None
        details = {"k": k, "exact": exact, "update": made.update, "measured": made.measured}
        note = "exact" if made.measured is None else f"recall@{k} {made.measured['mean']:.3f}"
        counts = {"contents": vectors.rows, "changed": made.changed}
        return Built(counts, details, (note, made.update) if last else (note,))

    return build_if_changed(lake, step, vectors, run_id, work)


@dataclass(frozen=True, slots=True)
class _Made:
    """A graph to store.

    Attributes:
        graph: the lists.
        changed: how many of them are not what they were.
        update: what was done and why.
        measured: the last measurement of its recall, and what has changed since; None if exact.
    """

    graph: NeighbourGraph
    changed: int
    update: str
    measured: dict[str, Any] | None


def _updated(
    old: OldGraph | None,
    vectors: ShardVectors,
    index: RowView | None,
    details: Details | None,
    options: GraphOptions,
) -> _Made | str:
    """Update the stored graph; or say why it has to be rebuilt."""
    if old is None or details is None:
        return "built: the first of these settings"
    if old.changed_share > MOST_CHANGED:
        return f"rebuilt: {old.changed_share:.0%} of the lists would change"
    affordable = is_exact_affordable(vectors, options)
    if affordable and not details["exact"]:
        return "rebuilt: small enough to be exact now"
    update = update_graph(vectors, index, old, options)
    measured: dict[str, Any] | str | None = None
    if not details["exact"] or not (affordable or index is None):
        measured = _kept_recall(details["measured"], old, vectors, update.graph, options)
    if isinstance(measured, str):
        return measured
    changed = update.changed.size
    told = f"updated: {changed:,} of {vectors.rows:,} lists"
    return _Made(update.graph, changed, told, measured)


def _kept_recall(
    known: dict[str, Any] | None,
    old: OldGraph,
    vectors: ShardVectors,
    graph: NeighbourGraph,
    options: GraphOptions,
) -> dict[str, Any] | str:
    """Carry the last measurement on, or measure again; or say why the graph has to be rebuilt."""
    if known is not None:
        changes = known["changes_since"] + old.fresh.size + old.gone
        if changes <= MOST_UNMEASURED * known["rows"]:
            return known | {"changes_since": changes}
    recall = remeasured(vectors, graph, options)
    if known is not None and recall.high < known["low"]:
        return f"rebuilt: recall had fallen to {recall.mean:.3f}"
    return _measurement(recall, vectors.rows)


def _measurement(recall: RecallEstimate, rows: int) -> dict[str, Any]:
    return asdict(recall) | {"rows": rows, "changes_since": 0}


def stored_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> NeighbourGraph:
    """Read the space's graph back, in the row order of its vectors.

    Raises:
        SpaceMismatchError: the graph is that of another model's vectors.
        LakeError: the graph is missing, or of other contents.
    """
    here = (pc.field("space") == space.key) & (pc.field("stage") == "graph")
    for built in lake.read("builds", where=here, columns=["fingerprint"])["fingerprint"]:
        if built.as_py() != space.id.fingerprint:
            raise SpaceMismatchError(
                space.id.name, built.as_py(), space.id.fingerprint, "the neighbour graph"
            )
    old = _old_graph(lake, space, vectors, None)
    if old.fresh.size or old.torn.size:
        raise LakeError(
            f"space '{space.label}': the neighbour graph is not of these vectors. "
            "'latentlake graph' renews it."
        )
    return NeighbourGraph(old.lists.rows, old.lists.similarities, old.metric, None)


def _old_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors, k: int | None) -> OldGraph:
    """Read the stored lists in the row order of these vectors, k wide (by default as they are)."""
    batches = list(read_numbered(lake, "neighbours", space.key, "neighbours"))
    counts = [np.asarray(pc.list_value_length(batch["neighbours"])) for batch in batches]
    if k is None:
        k = max((int(each.max(initial=0)) for each in counts), default=0)
    found = no_neighbours(vectors.rows, k)
    has_list, torn, gone = np.zeros(vectors.rows, np.bool_), np.zeros(vectors.rows, np.bool_), 0
    for batch, held in zip(batches, counts, strict=True):
        of = rows_among(batch["content_id"], vectors.content_ids)
        numbered = batch["neighbours"].flatten()
        row_of = rows_among(numbered.dictionary, vectors.content_ids)
        present = np.arange(k) < held[:, None]
        rows = no_neighbours(of.size, k)
        rows.rows[present] = row_of[numbered.indices.to_numpy()]
        rows.similarities[present] = batch["similarities"].flatten().to_numpy()
        alive = of != NO_ROW
        found.rows[of[alive]] = rows.rows[alive]
        found.similarities[of[alive]] = rows.similarities[alive]
        torn[of[alive]] = (present & (rows.rows == NO_ROW)).any(axis=1)[alive]
        has_list[of[alive]] = True
        gone += int((~alive).sum())
    return OldGraph(
        found,
        Metric(space.id.metric),
        np.flatnonzero(~has_list).astype(np.int64),
        np.flatnonzero(torn).astype(np.int64),
        gone,
    )


def _rows(name: str, vectors: ShardVectors, graph: NeighbourGraph) -> pa.Table:
    present = graph.rows != NO_ROW
    similarities = pa.array(graph.similarities[present], pa.float32())
    columns = [
        pa.array([name] * vectors.rows, pa.string()),
        vectors.content_ids,
        numbered_lists(graph.rows, vectors.content_ids),
        pa.ListArray.from_arrays(offsets_of(present), similarities),
    ]
    return pa.Table.from_arrays(columns, names=NEIGHBOURS.columns.names)
