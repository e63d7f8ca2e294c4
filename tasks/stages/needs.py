"""What a stage will need in memory, told from counts before it starts.

The figures are upper bounds of what `benchmarks/bench_scale.py` measured; docs/reference/memory.md
has them. A stage that needs more than `limits.memory` is refused with the limit that would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data.space_files import GROUP_ROWS
from models.analysis.graph import query_rows
from models.indexes.choosing import trial_rows
from models.indexes.streams import BATCH_BYTES

if TYPE_CHECKING:
    from data.vectors import ShardVectors
    from models.indexes.plans import IndexPlan

_FIXED: Final = 60_000_000
"""Allocators, Delta, and a piece of everything."""
_ROW: Final = 170
"""Ids as strings and as sorted numbers, masks, and where each row stands."""
_REPORTED_ROW: Final = 200
"""Besides, of a report: scores, percentiles and ranks, an assignment, or the order of its items."""
_COMPARED_TEXT: Final = 140
"""A digest, lengths and places of a text, and one band while it is sorted."""
_TRAINED: Final = 4
"""Copies of a training sample: as read, scaled, sampled by FAISS, residuals."""
_COMPILED: Final = 330_000_000
"""torch, which multiplies bytes, and Numba."""
_OFFERS: Final = 120_000_000
"""What rows are told of others, while cells are gone through."""
_PLACED: Final = 60
"""Of a row in a cell: where it stands, its scale and length, and the last that it knows."""
_VISIT: Final = 16
"""Of a row to a cell, while visits are sorted."""
_LISTED: Final = 40
"""A neighbour of a row of a group, on its way to or from the file."""


def index_need(vectors: ShardVectors, largest: tuple[IndexPlan, int]) -> int:
    """Return what trying, training, filling and measuring an index takes.

    Args:
        vectors: what is indexed.
        largest: the plan of the largest index that may be built, and its bytes.
    """
    plan, index_bytes = largest
    trained = max(plan.training_rows, trial_rows(vectors.rows, vectors.dim))
    training = _TRAINED * trained * 4 * vectors.dim if plan.training_rows else 0
    return _common(vectors) + max(training, 5 * index_bytes // 4 + _batches(vectors))


def graph_need(vectors: ShardVectors, k: int, *, exact: bool, precise: bool = True) -> int:
    """Return what building a graph takes, visits aside.

    Args:
        vectors: what is linked.
        k: how many neighbours a row has.
        exact: whether it is built by brute force.
        precise: otherwise, whether vectors are held in 16 bits rather than 8.
    """
    lists = 24 * k * vectors.rows
    if exact:
        return _common(vectors) + lists + _batches(vectors)
    held = vectors.rows * (vectors.dim * (2 if precise else 1) + _PLACED)
    sorted_bytes = vectors.rows * vectors.dim  # before there are lists
    fixed = _common(vectors) + _COMPILED + _OFFERS + _batches(vectors)
    return fixed + held + max(sorted_bytes, lists)


def visits_need(visits: int) -> int:
    """Return what visits take besides, whose number is known when a graph's cells are."""
    return _VISIT * visits


def graph_update_need(vectors: ShardVectors, k: int, index_bytes: int) -> int:
    """Return what bringing a graph up to date through an index takes."""
    block = query_rows(vectors.dim) * (3 * 4 * vectors.dim + 40 * k)
    searched = 5 * index_bytes // 4 + min(block, _batches(vectors))
    return _common(vectors) + searched + _group(vectors, k) + 12 * k * vectors.rows


def pairs_need(vectors: ShardVectors, index_bytes: int) -> int:
    """Return what comparing contents takes, the pairs themselves aside."""
    block = query_rows(vectors.dim) * 3 * 4 * vectors.dim
    reported = _REPORTED_ROW * vectors.rows
    return _common(vectors) + reported + 5 * index_bytes // 4 + min(block, _batches(vectors))


def all_pairs_need(vectors: ShardVectors) -> int:
    """Return what comparing all contents with those around them takes, the pairs aside."""
    held = vectors.rows * (2 * vectors.dim + _PLACED + _REPORTED_ROW + 4 * _VISIT)
    return _common(vectors) + _COMPILED + held + _batches(vectors)


def wordings_need(vectors: ShardVectors, compared: int) -> int:
    """Return what comparing texts' wording takes, the pairs themselves aside.

    Args:
        vectors: of the texts.
        compared: bytes of band keys or of word triples that are held at once.
    """
    return _common(vectors) + _COMPARED_TEXT * vectors.rows + 2 * compared


def clusters_need(vectors: ShardVectors) -> int:
    """Return what fitting clusters and assigning rows takes."""
    return _common(vectors) + _REPORTED_ROW * vectors.rows + _batches(vectors)


def anomalies_need(vectors: ShardVectors, k: int) -> int:
    """Return what scoring and ranking rows takes."""
    scored = _REPORTED_ROW * vectors.rows + _batches(vectors) // 2
    return _common(vectors) + scored + _group(vectors, k)


def _common(vectors: ShardVectors) -> int:
    return _FIXED + _ROW * vectors.rows


def _batches(vectors: ShardVectors) -> int:
    """A batch as read and as scaled, and its answers."""
    return 3 * min(BATCH_BYTES, 4 * vectors.dim * vectors.rows)


def _group(vectors: ShardVectors, k: int) -> int:
    """A row group, and the ids that its lists refer to."""
    return _LISTED * k * min(GROUP_ROWS, vectors.rows)
