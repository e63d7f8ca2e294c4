"""The table `pairs`: who resembles whom, kept up to date by searching for what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.result_schemas import PAIRED, PAIRS
from data.space_files import numbered_ids, read_numbered
from models.analysis.duplicates import Pairs
from models.analysis.pairs import find_pairs, joined
from models.indexes.build import build_index
from models.indexes.results import NO_ROW
from models.indexes.row_view import RowView
from models.types import Metric
from tasks.stages.builds import (
    BuildStep,
    Built,
    Details,
    build_if_changed,
    progress_of,
)
from tasks.stages.indexing import index_over, rows_among

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from models.types import RowIds
    from tasks.stages.receipts import StageReceipt

_REVISION = 1
"""Raise it when the same vectors should get other pairs."""


def pair_contents(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, threshold: float | None, run_id: str
) -> tuple[StageReceipt, Pairs | None]:
    """Bring the space's pairs up to date, and return them if they have changed.

    Only contents that were not there last time are searched for: the table `paired` knows which
    those are. A pair of a content that has gone goes with it. Without a threshold there are none.
    """
    name = space.key
    step = BuildStep("pairs", space, {"threshold": threshold, "revision": _REVISION})

    def work(last: Details | None) -> Built:
        old, fresh = _no_pairs(), np.arange(vectors.rows, dtype=np.int64)
        if last is not None:
            known = lake.read("paired", where=pc.field("space") == name, columns=["content_id"])
            is_new = ~np.asarray(pc.is_in(vectors.content_ids, value_set=known["content_id"]))
            fresh = np.flatnonzero(is_new).astype(np.int64)
            old = stored_pairs(lake, name, vectors)
        found = joined(old, _found(lake, space, vectors, threshold, fresh))
        made.append(found)
        lake.replace_space("pairs", name, _rows(name, vectors, found), run_id)
        lake.replace_space("paired", name, _covered(name, vectors), run_id)
        details = {"threshold": threshold, "searched": int(fresh.size)}
        return Built({"pairs": found.count}, details)

    made: list[Pairs] = []
    receipt = build_if_changed(lake, step, vectors, run_id, work)
    return receipt, made[0] if made else None


def _found(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, threshold: float | None, rows: np.ndarray
) -> Pairs:
    if rows.size == 0 or threshold is None:
        return _no_pairs()
    metric = Metric(space.id.metric)
    index = index_over(lake, space, vectors)
    if index is None:
        built = build_index(vectors, metric).index
        index = RowView(built, np.arange(vectors.rows, dtype=np.int64))
    progress = progress_of("duplicates", space)
    return find_pairs(vectors, index, metric, threshold, rows, progress)


def stored_pairs(lake: Lake, name: str, vectors: ShardVectors) -> Pairs:
    """Return the stored pairs of contents that are both in use, in no order."""
    parts = [_no_pairs()]
    for batch in read_numbered(lake, "pairs", name, "first", "second"):
        first, second = (_numbers(batch[column], vectors) for column in ("first", "second"))
        alive = (first != NO_ROW) & (second != NO_ROW)
        low, high = np.minimum(first, second)[alive], np.maximum(first, second)[alive]
        parts.append(Pairs(low, high, batch["similarity"].to_numpy()[alive]))
    return Pairs(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.similarities for part in parts]),
    )


def _numbers(column: pa.DictionaryArray, vectors: ShardVectors) -> RowIds:
    row_of = rows_among(column.dictionary, vectors.content_ids)
    rows: RowIds = row_of[column.indices.to_numpy()]
    return rows


def _rows(name: str, vectors: ShardVectors, pairs: Pairs) -> pa.Table:
    columns = [
        pa.array(np.full(pairs.count, name), pa.string()),
        numbered_ids(pairs.first, vectors.content_ids),
        numbered_ids(pairs.second, vectors.content_ids),
        pa.array(pairs.similarities, pa.float32()),
    ]
    return pa.Table.from_arrays(columns, PAIRS.columns.names)


def _covered(name: str, vectors: ShardVectors) -> pa.Table:
    columns = [pa.array(np.full(vectors.rows, name), pa.string()), vectors.content_ids]
    return pa.Table.from_arrays(columns, schema=PAIRED.columns)


def _no_pairs() -> Pairs:
    none = np.empty(0, np.int64)
    return Pairs(none, none, np.empty(0, np.float32))
