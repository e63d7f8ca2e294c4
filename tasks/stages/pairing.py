"""The table `pairs`: who resembles whom, kept up to date by searching for what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.schemas import PAIRS
from data.storage import replacing
from models.analysis.duplicates import Pairs
from models.analysis.pairs import find_pairs, joined
from models.indexes.build import build_index
from models.indexes.results import NO_ROW
from models.indexes.row_view import RowView
from models.types import Metric
from tasks.stages.builds import (
    BuildStep,
    Built,
    build_if_changed,
    previous_details,
    progress_of,
)
from tasks.stages.indexing import index_over, rows_among

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors

_REVISION = 1
"""Raise it when the same vectors should get other pairs."""


def similar_contents(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, threshold: float, run_id: str
) -> Pairs:
    """Bring the space's pairs up to date and return them, in the row order of these vectors.

    Only contents that were not there last time are searched for. Which those are is told by a file
    of the contents that were, written before the table's commit; without it all are new.
    """
    name = space.id.name
    step = BuildStep("pairs", space, {"threshold": threshold, "revision": _REVISION})

    def work() -> Built:
        details = previous_details(lake, step)
        covered = lake.root / details["contents"] if details else None
        old = _no_pairs()
        fresh = np.arange(vectors.rows, dtype=np.int64)
        if covered is not None and covered.is_file():
            known = pq.read_table(covered)["content_id"].combine_chunks()
            is_new = ~np.asarray(pc.is_in(vectors.content_ids, value_set=known))
            fresh = np.flatnonzero(is_new).astype(np.int64)
            old = _stored_pairs(lake, name, vectors)
        found = joined(old, _found(lake, space, vectors, threshold, fresh))
        path = f"pairs/{name}/{space.id.fingerprint}/{run_id}.parquet"
        with replacing(lake.root / path) as temporary:
            pq.write_table(pa.table({"content_id": vectors.content_ids}), temporary)
        lake.replace_space("pairs", name, _rows(name, vectors, found), run_id)
        details = {"contents": path, "threshold": threshold, "searched": int(fresh.size)}
        return Built({"pairs": found.count}, details)

    build_if_changed(lake, step, vectors, run_id, work)
    return _stored_pairs(lake, name, vectors)


def _found(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, threshold: float, rows: np.ndarray
) -> Pairs:
    if rows.size == 0:
        return _no_pairs()
    metric = Metric(space.id.metric)
    index = index_over(lake, space, vectors)
    if index is None:
        built = build_index(vectors, metric).index
        index = RowView(built, np.arange(vectors.rows, dtype=np.int64))
    progress = progress_of("duplicates", space)
    return find_pairs(vectors, index, metric, threshold, rows, progress)


def _stored_pairs(lake: Lake, name: str, vectors: ShardVectors) -> Pairs:
    """Return the stored pairs of contents that are both in use, sorted by their rows."""
    table = lake.read("pairs", where=pc.field("space") == name)
    first, second = (
        rows_among(table[column].combine_chunks(), vectors.content_ids)
        for column in ("first", "second")
    )
    alive = (first != NO_ROW) & (second != NO_ROW)
    similarities = table["similarity"].to_numpy()[alive]
    low, high = np.minimum(first, second)[alive], np.maximum(first, second)[alive]
    return joined(Pairs(low, high, similarities), _no_pairs())


def _rows(name: str, vectors: ShardVectors, pairs: Pairs) -> pa.Table:
    columns = [
        pa.array(np.full(pairs.count, name), pa.string()),
        vectors.content_ids.take(pa.array(pairs.first)),
        vectors.content_ids.take(pa.array(pairs.second)),
        pa.array(pairs.similarities, pa.float32()),
    ]
    return pa.Table.from_arrays(columns, schema=PAIRS.columns)


def _no_pairs() -> Pairs:
    none = np.empty(0, np.int64)
    return Pairs(none, none, np.empty(0, np.float32))
