"""The neighbour graph of a space: kept up to date with its vectors, read by every report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.allocators import release_unused
from data.space_files import GROUP_ROWS, numbered_lists, offsets_of
from models.analysis.graph import (
    GraphOptions,
    NeighbourGraph,
    SampledLists,
    is_exact_affordable,
    link_rows,
)
from models.analysis.graph_update import MOST_CHANGED, OldGraph, remeasured, update_graph
from models.indexes.growth import MOST_UNMEASURED
from models.indexes.results import NO_ROW, Neighbours, no_neighbours
from models.types import Metric
from tasks.stages.budget import budget_of
from tasks.stages.builds import (
    BuildStep,
    Built,
    Details,
    build_if_changed,
    progress_of,
)
from tasks.stages.checkpoints import forget_checkpoints, resumed_links
from tasks.stages.indexing import index_over, stored_index_bytes
from tasks.stages.needs import graph_need
from tasks.stages.spaces import require_space, space_vectors
from tasks.stages.stored_graph import hold_graph, read_lists

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    configured, options = settings.space(space.id.name), GraphOptions(seed=settings.run.seed)
    k, target = configured.neighbours, configured.graph_recall
    step = BuildStep("graph", space, {"k": k, "seed": options.seed, "target_recall": target})

    def work(last: Details | None) -> Built:
        needed = graph_need(vectors, k, stored_index_bytes(lake, space), updated=last is not None)
        budget_of(settings).require(f"graph of space '{space.label}'", needed)
        index = index_over(lake, space, vectors)
        old = _old_graph(lake, space, vectors, k) if last else None
        made = _updated(old, vectors, index, last, options)
        if isinstance(made, str):
            made = _built(lake, step, vectors, index, made, run_id)
        elif made.graph is not None:
            lists = Neighbours(made.graph.rows, made.graph.similarities)
            lake.replace_space("neighbours", space.key, _parts(vectors, [(0, lists)]), run_id)
            hold_graph(lake, space, vectors, lists)
        exact = made.measured is None
        details = {"k": k, "exact": exact, "update": made.update, "measured": made.measured}
        note = "exact" if made.measured is None else f"recall@{k} {made.measured['mean']:.3f}"
        counts = {"contents": vectors.rows, "changed": made.changed}
        return Built(counts, details, (note, made.update) if last else (note,))

    receipt = build_if_changed(lake, step, vectors, run_id, work)
    forget_checkpoints(lake, space)
    return receipt


def _built(
    lake: Lake,
    step: BuildStep,
    vectors: ShardVectors,
    index: RowView | None,
    update: str,
    run_id: str,
) -> _Made:
    """Search for all rows, and store their lists as they are found."""
    k, metric = step.inputs["k"], Metric(step.space.id.metric)
    options = GraphOptions(seed=step.inputs["seed"])
    sampled = SampledLists.drawn(vectors.rows, k, options)
    exact = index is None or is_exact_affordable(vectors, options)
    progress = progress_of("graph", step.space)

    def linked() -> Iterator[tuple[int, Neighbours]]:
        blocks = (
            link_rows(vectors, index, metric, k, options, progress)
            if index is None or exact
            else resumed_links(lake, step, vectors, index, options)
        )
        for start, block in blocks:
            sampled.keep(start, block)
            release_unused()
            yield start, block

    lake.replace_space("neighbours", step.space.key, _parts(vectors, linked()), run_id)
    if exact:
        return _Made(None, vectors.rows, update, None)
    recall = sampled.recall(vectors, metric)
    return _Made(None, vectors.rows, update, _measurement(recall, vectors.rows))


@dataclass(frozen=True, slots=True)
class _Made:
    """A graph that was made.

    Attributes:
        graph: the lists; None where they are stored already.
        changed: how many of them are not what they were.
        update: what was done and why.
        measured: the last measurement of its recall, and what has changed since; None if exact.
    """

    graph: NeighbourGraph | None
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


def _old_graph(lake: Lake, space: SpaceRow, vectors: ShardVectors, k: int) -> OldGraph:
    """Read the stored lists in the row order of these vectors."""
    found = no_neighbours(vectors.rows, k)
    has_list, torn, gone = np.zeros(vectors.rows, np.bool_), np.zeros(vectors.rows, np.bool_), 0
    for of, lists, broken in read_lists(lake, space, vectors, k):
        alive = of != NO_ROW
        rows, some = of[alive], slice(None) if alive.all() else alive
        found.rows[rows], found.similarities[rows] = lists.rows[some], lists.similarities[some]
        torn[rows] = broken[some]
        has_list[rows] = True
        gone += of.size - rows.size
    return OldGraph(
        found,
        Metric(space.id.metric),
        np.flatnonzero(~has_list).astype(np.int64),
        np.flatnonzero(torn).astype(np.int64),
        gone,
    )


def _parts(vectors: ShardVectors, blocks: Iterable[tuple[int, Neighbours]]) -> Iterator[pa.Table]:
    """Bring lists of consecutive rows into the form of the table, a row group at a time."""
    for first, block in blocks:
        for start in range(0, block.rows.shape[0], GROUP_ROWS):
            rows = block.rows[start : start + GROUP_ROWS]
            present = rows != NO_ROW
            similarities = block.similarities[start : start + GROUP_ROWS][present]
            yield pa.table(
                {
                    "content_id": vectors.content_ids.slice(first + start, rows.shape[0]),
                    "neighbours": numbered_lists(rows, vectors.content_ids),
                    "similarities": pa.ListArray.from_arrays(
                        offsets_of(present), pa.array(similarities, pa.float32())
                    ),
                }
            )
