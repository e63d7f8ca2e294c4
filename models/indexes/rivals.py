"""Which kinds of index suit so many vectors, before anybody has looked at them.

Vectors that would be scanned in milliseconds stay exact, the rest goes to inverted lists. Which of
their kinds is the fastest depends on the vectors: `models.indexes.choosing` tries the rivals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from models.indexes.errors import IndexKindError, IndexTooLargeError
from models.indexes.plans import (
    LEAST_CODED_ROWS,
    Coding,
    IndexKind,
    IndexPlan,
    index_bytes,
    plan_for,
    pq_parts,
)
from models.types import Metric

EXACT_ROWS: Final = 20_000
EXACT_FLOATS: Final = 8_000_000
"""32 MB: one core scans it for a single query in about 3 ms."""
HALF_PRECISION_BYTES: Final = 8 * 2**30
"""Beyond this size in float16 the vectors are kept in 8 bits."""
MEGABYTE: Final = 10**6
_CODES: Final = {IndexKind.IVF_SQFP16: "inverted lists in float16", IndexKind.IVF_SQ8: "in 8 bits"}


def choose_index(rows: int, dim: int, metric: Metric, most_bytes: int | None = None) -> IndexPlan:
    """Propose an index for so many vectors, without having seen them: the first of `rivals`.

    Raises:
        IndexTooLargeError: not even the coarsest codes that serve are small enough.
    """
    return rivals(rows, dim, metric, most_bytes)[0]


def rivals(
    rows: int, dim: int, metric: Metric, most_bytes: int | None = None
) -> tuple[IndexPlan, ...]:
    """Return the plans that suit so many vectors, the one that any vectors suit first.

    Args:
        rows: how many vectors.
        dim: their length.
        metric: how nearness is measured.
        most_bytes: what the index may take in memory; None for any size.

    Raises:
        IndexTooLargeError: not even the coarsest codes that serve are small enough.
    """
    kind, reason = _choose_kind(rows, dim, metric)
    plain = plan_for(kind, rows, reasons=(reason,))
    needed = least = index_bytes(plain, rows, dim)
    if most_bytes is None or needed <= most_bytes:
        coded = (
            _coded(rows, Coding(dim, plain.codec), reason) if _may_be_coded(plain, metric) else ()
        )
        most = most_bytes or needed * 4
        return (plain, *(one for one in coded if index_bytes(one, rows, dim) <= most))
    coarser = [IndexKind.IVF_SQFP16, IndexKind.IVF_SQ8] if metric is Metric.COSINE else []
    for one in coarser:
        reason = (
            f"{plain.factory} would take {needed // MEGABYTE} MB, and limits.memory leaves "
            f"{most_bytes // MEGABYTE} for an index: {_CODES[one]}."
        )
        smaller = plan_for(one, rows, reasons=(reason,))
        least = min(least, index_bytes(smaller, rows, dim))
        if index_bytes(smaller, rows, dim) <= most_bytes:
            coded = _coded(rows, Coding(dim, smaller.codec), reason)
            return (smaller, *(p for p in coded if index_bytes(p, rows, dim) <= most_bytes))
    raise IndexTooLargeError(rows, dim, least, most_bytes)


def _may_be_coded(plain: IndexPlan, metric: Metric) -> bool:
    # Candidates are searched for list by list, too, and by matrices L2 loses digits (list_search).
    return plain.is_inverted and metric is not Metric.L2


def _coded(rows: int, coding: Coding, reason: str) -> tuple[IndexPlan, ...]:
    kinds = [kind for kind in IndexKind if kind.has_store]
    return tuple(plan for kind in kinds for plan in _of_kind(kind, rows, coding, reason))


def _of_kind(kind: IndexKind, rows: int, coding: Coding, reason: str) -> tuple[IndexPlan, ...]:
    """Return the plans of a kind: one, or one for each number of parts that suits PQ."""
    cuts = pq_parts(coding.dim) if kind is IndexKind.PQ and rows >= LEAST_CODED_ROWS else (None,)
    return tuple(plan_for(kind, rows, (reason,), replace(coding, parts=one)) for one in cuts)


def suited(
    kind: IndexKind | None, rows: int, dim: int, metric: Metric, most_bytes: int | None = None
) -> tuple[IndexPlan, ...]:
    """Return the plans to choose from: the `rivals`, or those of the kind that was asked for.

    Args:
        kind: what was asked for; None for what suits.
        rows: how many vectors.
        dim: their length.
        metric: how nearness is measured.
        most_bytes: what the index may take in memory; None for any size.

    Raises:
        IndexKindError: the kind does not suit the metric.
        IndexTooLargeError: nothing that serves is small enough.
    """
    if kind is None:
        return rivals(rows, dim, metric, most_bytes)
    fitting = tuple(one for one in IndexKind if _suits(one, metric))
    if kind not in fitting:
        raise IndexKindError(kind, metric, fitting)
    store = "SQfp16" if metric is Metric.COSINE else "Flat"
    plans = _of_kind(kind, rows, Coding(dim, store), f"index.kind is '{kind}'.")
    needed = {plan: index_bytes(plan, rows, dim) for plan in plans}
    least = min(needed.values())
    if most_bytes is not None and least > most_bytes:
        raise IndexTooLargeError(rows, dim, least, most_bytes)
    return tuple(plan for plan in plans if most_bytes is None or needed[plan] <= most_bytes)


def _suits(kind: IndexKind, metric: Metric) -> bool:
    if kind in (IndexKind.IVF_SQFP16, IndexKind.IVF_SQ8):
        return metric is Metric.COSINE
    return not (kind.has_store and metric is Metric.L2)


def _choose_kind(rows: int, dim: int, metric: Metric) -> tuple[IndexKind, str]:
    size = f"{rows:,} x {dim}"
    if rows <= EXACT_ROWS or rows * dim <= EXACT_FLOATS:
        return IndexKind.FLAT, f"{size} is scanned whole in milliseconds, so search is exact."
    if metric is not Metric.COSINE:
        # float16 ends at 65504, and values of unknown scale may lie beyond.
        return IndexKind.IVF_FLAT, f"{size} of unknown scale: inverted lists of float32."
    if rows * dim * 2 <= HALF_PRECISION_BYTES:
        return IndexKind.IVF_SQFP16, (
            f"{size} unit vectors: inverted lists in float16, 1.8 times the speed of float32 "
            "at half its memory."
        )
    return IndexKind.IVF_SQ8, f"{size} in float16 passes 8 GiB: inverted lists in 8 bits."
