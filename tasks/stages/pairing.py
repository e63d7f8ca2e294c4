"""The table `pairs`: who resembles whom, kept up to date by searching for what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from data.result_schemas import PAIRS
from data.space_files import numbered_ids, read_numbered
from models.analysis.duplicates import Pairs
from models.analysis.effort import PAIRS_FOUND, found_for
from models.analysis.graph import is_exact_affordable
from models.analysis.pairs import PairLimits, find_all_pairs, find_pairs, joined
from models.indexes.build import build_index
from models.indexes.results import NO_ROW
from models.indexes.rivals import choose_index
from models.indexes.row_view import RowView
from models.types import Metric
from tasks.stages.budget import budget_of
from tasks.stages.builds import (
    BuildStep,
    Built,
    Details,
    build_if_changed,
    progress_of,
)
from tasks.stages.covered import Covered
from tasks.stages.held import Held
from tasks.stages.indexing import index_over, stored_index_bytes, stored_index_factory
from tasks.stages.needs import all_pairs_need, pairs_need
from tasks.stages.thresholds import near_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.types import RowIds
    from tasks.stages.receipts import StageReceipt

_REVISION = 1
"""Raise it when the same vectors should get other pairs."""


def pair_contents(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Bring the space's pairs up to date.

    Only contents that were not there last time are searched for: the table `paired` knows which
    those are. A pair of a content that has gone goes with it. Without a threshold there are none.
    Where less may be missed than usual, all are searched for again, with more effort.
    """
    name = space.key
    threshold, share = near_threshold(settings, space), _share(settings, space)
    inputs = {"threshold": threshold, "revision": _REVISION}
    if share > PAIRS_FOUND:
        inputs["found"] = share
    step = BuildStep("pairs", space, inputs)

    def work(last: Details | None) -> Built:
        covered = Covered.read(lake, "paired", space, vectors, anew=last is None)
        fresh = np.flatnonzero(~covered.rows).astype(np.int64)
        old = stored_pairs(lake, name, vectors) if last is not None else _no_pairs()
        found = joined(old, _found(lake, settings, space, vectors, threshold, fresh))
        lake.replace_space("pairs", name, _rows(vectors, found), run_id)
        _held.put(_state(lake, name, vectors), found, _PAIR_BYTES * found.count)
        covered.replace(lake, vectors, np.ones(vectors.rows, np.bool_), run_id)
        details = {"threshold": threshold, "searched": int(fresh.size)}
        return Built({"pairs": found.count}, details)

    return build_if_changed(lake, step, vectors, run_id, work)


def _share(settings: Settings, space: SpaceRow) -> float:
    return found_for(settings.space(space.id.name).duplicates.max_missed)


def _found(
    lake: Lake,
    settings: Settings,
    space: SpaceRow,
    vectors: ShardVectors,
    threshold: float | None,
    rows: np.ndarray,
) -> Pairs:
    if rows.size == 0 or threshold is None:
        return _no_pairs()
    metric, budget = Metric(space.id.metric), budget_of(settings)
    progress, told = progress_of("duplicates", space), f"duplicates of space '{space.label}'"
    limits = PairLimits(budget.pairs, budget.compared, _share(settings, space))
    if rows.size == vectors.rows and not _is_exact(lake, space, vectors):
        budget.require(told, all_pairs_need(vectors))
        seed = settings.run.seed
        found = find_all_pairs(vectors, metric, threshold, progress, limits, seed)
        if found is not None:
            return found
    budget.require(told, pairs_need(vectors, stored_index_bytes(lake, space)))
    index = index_over(lake, space, vectors)
    if index is None:
        plan = choose_index(vectors.rows, vectors.dim, metric, budget.index)
        built = build_index(vectors, metric, plan).index
        index = RowView(built, np.arange(vectors.rows, dtype=np.int64))
    return find_pairs(vectors, index, threshold, rows, progress, limits)


def _is_exact(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> bool:
    """Tell whether the index finds all pairs, or would if there were one."""
    if is_exact_affordable(vectors):
        return True
    return stored_index_factory(lake, space) == "Flat"


_PAIR_BYTES: Final = 20
_held: Held[Pairs] = Held()


def _state(lake: Lake, name: str, vectors: ShardVectors) -> tuple[str, ...]:
    return lake.uri, name, vectors.digest, *lake.files("pairs")


def stored_pairs(lake: Lake, name: str, vectors: ShardVectors) -> Pairs:
    """Return the stored pairs of contents that are both in use, in no order."""
    held = _held.get(_state(lake, name, vectors))
    if held is not None:
        return held
    parts = [_no_pairs()]
    for first, second, batch in read_pairs(lake, "pairs", name, vectors):
        alive = (first != NO_ROW) & (second != NO_ROW)
        low, high = np.minimum(first, second)[alive], np.maximum(first, second)[alive]
        parts.append(Pairs(low, high, batch["similarity"].to_numpy()[alive]))
    return Pairs(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )


def read_pairs(
    lake: Lake, table: str, name: str, vectors: ShardVectors
) -> Iterator[tuple[RowIds, RowIds, pa.RecordBatch]]:
    """Read a table of pairs of contents.

    Yields:
        The rows of the first and of the second contents, -1 for those of no row, and all columns.
    """
    columns = ("first", "second")
    known: dict[str, tuple[pa.Array, RowIds]] = {}  # batches of a row group share their ids
    for batch in read_numbered(lake, table, name, *columns):
        for column in columns:
            ids = batch[column].dictionary
            if column not in known or not known[column][0].equals(ids):
                known[column] = (ids, vectors.rows_of(ids))
        first, second = (known[one][1][batch[one].indices.to_numpy()] for one in columns)
        yield first, second, batch


def _rows(vectors: ShardVectors, pairs: Pairs) -> pa.Table:
    columns = [
        numbered_ids(pairs.first, vectors.content_ids),
        numbered_ids(pairs.second, vectors.content_ids),
        pa.array(pairs.similarities, pa.float32()),
    ]
    return pa.Table.from_arrays(columns, PAIRS.columns.names[1:])


def _no_pairs() -> Pairs:
    none = np.empty(0, np.int64)
    return Pairs(none, none, np.empty(0, np.float32))
