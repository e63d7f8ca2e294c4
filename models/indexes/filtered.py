"""What an index finds where a filter leaves some of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.exact import exact_search
from models.indexes.recall import GroundTruth, RecallEstimate, estimate_recall, measure_recall
from models.indexes.results import NO_ROW, Neighbours
from models.indexes.streams import sample, take

if TYPE_CHECKING:
    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix, RowIds, Vectors

SHARE: Final = 0.1
"""Of the rows, chosen by chance, among which a filtered search is measured."""
QUERIES: Final = 250


def filtered_recall(
    index: VectorIndex,
    vectors: Vectors,
    rows: RowIds,
    k: int,
    seed: int,
    row_of: RowIds | None = None,
) -> RecallEstimate | None:
    """Measure recall@k where a tenth of the rows may be found; None with too few to tell.

    Args:
        index: what to search.
        vectors: its living rows.
        rows: (queries,) int64, the rows of `vectors` that are looked for.
        k: how many neighbours to ask for.
        seed: of the choice of the tenth.
        row_of: (index.rows,) int64, the row of `vectors` that each row of the index is, -1 for a
            dead one; None where they are the same.
    """
    allowed = np.sort(sample(vectors.rows, int(vectors.rows * SHARE), seed + 1))
    k = min(k, vectors.rows - 1)
    if allowed.size <= k or rows.size == 0:
        return None
    queries = take(vectors, rows)
    true = exact_search(vectors.subset(allowed), queries, k + 1, index.metric)
    named = Neighbours(allowed[true.rows], true.similarities).without(rows)
    found = _found(index, queries, k + 1, allowed, row_of).without(rows)
    truth = GroundTruth(rows, queries, named)
    return estimate_recall(measure_recall(vectors, truth, [found], index.metric)[0], k)


def _found(
    index: VectorIndex, queries: Matrix, k: int, allowed: RowIds, row_of: RowIds | None
) -> Neighbours:
    """Search one by one: of several among few rows each may find more than it does alone."""
    among = allowed if row_of is None else np.flatnonzero(np.isin(row_of, allowed))
    parts = [index.search(queries[at : at + 1], k, among) for at in range(queries.shape[0])]
    rows = np.concatenate([part.rows for part in parts])
    if row_of is not None:
        rows = np.where(rows == NO_ROW, NO_ROW, row_of[rows])
    return Neighbours(rows, np.concatenate([part.similarities for part in parts]))
