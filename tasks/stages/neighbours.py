"""The neighbour graph of a space: kept up to date with its vectors, read by every report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from data.allocators import release_unused
from data.space_files import GROUP_ROWS, numbered_lists, offsets_of
from models.analysis.graph import (
    GraphOptions,
    NeighbourGraph,
    build_graph,
    is_exact_affordable,
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
from tasks.stages.checkpoints import Checkpoints, forget_checkpoints
from tasks.stages.indexing import index_over, stored_index_bytes
from tasks.stages.needs import graph_need, graph_update_need, visits_need
from tasks.stages.spaces import require_space, space_vectors
from tasks.stages.stored_graph import hold_graph, read_lists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.recall import RecallEstimate
    from tasks.stages.receipts import StageReceipt

_KEPT_ROWS: Final = 250_000
"""Fewer are linked in seconds: then nothing is kept for a run that is killed."""


def link_neighbours(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Bring the space's neighbour graph up to date, if its vectors or k have changed."""
    space = require_space(lake, settings, name)
    vectors = space_vectors(lake, settings, space)
    configured = settings.space(space.id.name)
    options = GraphOptions(target_recall=configured.graph_recall, seed=settings.run.seed)
    k = configured.neighbours
    inputs = {"k": k, "seed": options.seed, "target_recall": options.target_recall}
    step = BuildStep("graph", space, inputs)

    def work(last: Details | None) -> Built:
        made = _updated(lake, settings, step, vectors, last, options)
        if isinstance(made, str):
            made = _built(lake, settings, step, vectors, options, made)
        lists = Neighbours(made.graph.rows, made.graph.similarities)
        lake.replace_space("neighbours", space.key, _parts(vectors, lists), run_id)
        hold_graph(lake, space, vectors, lists)
        exact = made.measured is None
        details = {"k": k, "exact": exact, "update": made.update, "measured": made.measured}
        note = "exact" if made.measured is None else f"recall@{k} {made.measured['mean']:.3f}"
        counts = {"contents": vectors.rows, "changed": made.changed}
        return Built(counts, details, (note, made.update) if last else (note,))

    receipt = build_if_changed(lake, step, vectors, run_id, work)
    forget_checkpoints(lake, space)
    return receipt


@dataclass(frozen=True, slots=True)
class _Made:
    """A graph that was made.

    Attributes:
        graph: all lists.
        changed: how many of them are not what they were.
        update: what was done and why.
        measured: the last measurement of its recall, and what has changed since; None if exact.
    """

    graph: NeighbourGraph
    changed: int
    update: str
    measured: dict[str, Any] | None


def _built(
    lake: Lake,
    settings: Settings,
    step: BuildStep,
    vectors: ShardVectors,
    options: GraphOptions,
    update: str,
) -> _Made:
    """Search for all rows; from 8 bits a dimension where there is no memory for 16."""
    k, space, budget = step.inputs["k"], step.space, budget_of(settings)
    exact = is_exact_affordable(vectors, options)
    precise = graph_need(vectors, k, exact=exact) <= budget.limit
    needed = graph_need(vectors, k, exact=exact, precise=precise)
    budget.require(f"graph of space '{space.label}'", needed)

    def check(visits: int) -> None:
        budget.require(f"graph of space '{space.label}'", needed + visits_need(visits))

    options = replace(options, precise=precise, check_visits=check)
    kept = None
    if not exact and vectors.rows >= _KEPT_ROWS:
        kept = Checkpoints.of(lake, space, vectors, step.inputs | {"precise": precise})
    progress = progress_of("graph", space)
    graph = build_graph(vectors, Metric(space.id.metric), k, options, kept, progress)
    release_unused(vectors.rows)
    measured = None if graph.recall is None else _measurement(graph.recall, vectors.rows)
    return _Made(graph, vectors.rows, update, measured)


def _updated(
    lake: Lake,
    settings: Settings,
    step: BuildStep,
    vectors: ShardVectors,
    last: Details | None,
    options: GraphOptions,
) -> _Made | str:
    """Update the stored graph; or say why it has to be rebuilt."""
    if last is None:
        return "built: the first of these settings"
    k, space = step.inputs["k"], step.space
    needed = graph_update_need(vectors, k, stored_index_bytes(lake, space))
    budget_of(settings).require(f"graph of space '{space.label}'", needed)
    old = _old_graph(lake, space, vectors, k)
    if old.changed_share > MOST_CHANGED:
        return f"rebuilt: {old.changed_share:.0%} of the lists would change"
    affordable = is_exact_affordable(vectors, options)
    if affordable and not last["exact"]:
        return "rebuilt: small enough to be exact now"
    index = index_over(lake, space, vectors)
    update = update_graph(vectors, index, old, options)
    measured: dict[str, Any] | str | None = None
    if not last["exact"] or not (affordable or index is None):
        measured = _kept_recall(last["measured"], old, vectors, update.graph, options)
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


def _parts(vectors: ShardVectors, lists: Neighbours) -> Iterator[pa.Table]:
    """Bring lists into the form of the table, a row group at a time."""
    for start in range(0, vectors.rows, GROUP_ROWS):
        rows = lists.rows[start : start + GROUP_ROWS]
        present = rows != NO_ROW
        similarities = lists.similarities[start : start + GROUP_ROWS][present]
        yield pa.table(
            {
                "content_id": vectors.content_ids.slice(start, rows.shape[0]),
                "neighbours": numbered_lists(rows, vectors.content_ids),
                "similarities": pa.ListArray.from_arrays(
                    offsets_of(present), pa.array(similarities, pa.float32())
                ),
            }
        )
