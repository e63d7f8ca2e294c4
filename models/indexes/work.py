"""What a query costs, counted rather than timed, so that a choice is the same on every run.

A query reads the centroids, then the codes in the lists that it probes, keeps candidates in a heap,
and compares those of short codes by better ones. Each is counted and priced with nanoseconds of one
core (Zen 5, AVX-512, FAISS 1.15), measured with 60,000 random vectors of 128 to 784. Another
processor shifts all of them; which kind is cheaper depends on their ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.indexes.plans import IndexKind

if TYPE_CHECKING:
    from models.indexes.plans import IndexPlan, SearchParameters

_CENTROID: Final = 0.04
"""A dimension of a centroid, for queries that come together."""
_START: Final = 10_000.0
"""A query's own, whatever it reads."""
_HOP: Final = 3.0
"""A dimension of a vector that a walk over an HNSW graph looks at."""
_LOOKED_AT: Final = 20.0
"""Vectors that such a walk looks at for each candidate that it keeps."""


@dataclass(frozen=True, slots=True)
class _Prices:
    """Nanoseconds of a kind: a row's own, a dimension of a row, and a kept candidate."""

    row: float
    dimension: float
    kept: float


_PRICES: Final = {
    IndexKind.FLAT: _Prices(0, 0.02, 0),
    IndexKind.IVF_FLAT: _Prices(0, 0.17, 200),
    IndexKind.IVF_SQFP16: _Prices(0, 0.077, 200),
    IndexKind.IVF_SQ8: _Prices(2, 0.09, 200),
    IndexKind.PROJECTED: _Prices(2, 0.09, 200),
    IndexKind.PQ: _Prices(1.5, 0, 60),
    IndexKind.RABITQ: _Prices(5, 0.025, 220),
}
_PART: Final = (30.0, 0.012)
"""A part of PQ: its table for a query, and a row's code in it."""
_DECIDED: Final = (30.0, 0.25)
"""A vector that lies anywhere in memory, such as a candidate that a store decides about, and a
dimension of it."""
_UNPACKED: Final = (20_000.0, 2.5)
"""A list that is unpacked for many queries, and a number in it."""
_COMPARED: Final = (8.0, 0.03)
"""A row of such a list with one of the queries, and a dimension of it."""

_TESTED: Final = 1.5
"""A row that is looked up among the allowed ones."""
_PAIR: Final = 0.17
"""A dimension of a vector that is compared by itself, where others by matrices."""
_FETCHED: Final = (0.5, 1.6)
"""A number of a vector that lies anywhere in memory: in float32, and in fewer bits."""
_RAW_CODES: Final = ("Flat", "HNSW32")
_WALKED: Final = 7_000.0
"""A list in which allowed rows are looked for."""


def query_ns(plan: IndexPlan, effort: SearchParameters, rows: int, dim: int, k: int) -> float:
    """Return what a query for k neighbours costs, in nanoseconds of one core.

    Args:
        plan: the index.
        effort: how hard it tries.
        rows: how many vectors it holds.
        dim: their length.
        k: how many neighbours are wanted.
    """
    kind = plan.kind
    if kind is IndexKind.HNSW or kind is None:
        return _START + (effort.ef_search or k) * _LOOKED_AT * dim * _HOP / 16
    price, scanned_dim = _PRICES[kind], plan.scanned_dim(dim)
    lists = max(1, plan.lists)
    scanned = rows * min(lists, effort.nprobe or lists) / lists
    kept = k * (effort.k_factor or 1)
    cost = _START + scanned * (price.row + price.dimension * scanned_dim) + kept * price.kept
    cost += plan.parts * (_PART[0] + _PART[1] * scanned)
    if plan.is_inverted:
        cost += lists * scanned_dim * _CENTROID
    if effort.k_factor is not None:
        cost += kept * (_DECIDED[0] + _DECIDED[1] * dim)
    return cost


def filtered_ns(
    plan: IndexPlan, effort: SearchParameters, rows: int, dim: int, k: int, allowed: int
) -> float:
    """Return what a query costs that passes over the rows it may not find.

    Arguments are those of `query_ns`, and how many rows may be found. PQ's fast scan reads rows by
    the dozen, so it passes over none.
    """
    kind = plan.kind
    if kind is IndexKind.FLAT:
        return _START + rows * _TESTED + allowed * (_DECIDED[0] + _DECIDED[1] * dim)
    cost = query_ns(plan, effort, rows, dim, k)
    if kind is None or not plan.is_inverted:
        return cost
    price, lists = _PRICES[kind], max(1, plan.lists)
    scanned = rows * min(lists, effort.nprobe or lists) / lists
    read = price.row + price.dimension * plan.scanned_dim(dim)
    return cost + scanned * (_TESTED - (1 - allowed / rows) * read * (not plan.parts))


def scan_ns(
    plan: IndexPlan, rows: int, dim: int, allowed: int, queries: int, *, by_matrices: bool
) -> float:
    """Return what it costs to compare some queries with all rows that may be found.

    Args:
        plan: the index.
        rows: how many vectors it holds.
        dim: their length.
        allowed: how many of them may be found.
        queries: how many come together.
        by_matrices: whether so many are multiplied as matrices.
    """
    raw = plan.codec in _RAW_CODES
    in_order = not plan.is_inverted or (plan.kind is not None and plan.kind.has_store)
    if raw and in_order and not by_matrices:
        return queries * (_START + allowed * (_DECIDED[0] + _DECIDED[1] * dim))
    cost = allowed * dim * _FETCHED[not raw]
    if not in_order:
        cost += rows * _TESTED + plan.lists * _WALKED + min(plan.lists, allowed) * _UNPACKED[0]
    each = _COMPARED[0] + dim * (_COMPARED[1] if by_matrices else _PAIR)
    return cost + queries * (_START + allowed * each)


def most_alone(
    plan: IndexPlan, effort: SearchParameters, rows: int, dim: int, k: int
) -> int | None:
    """Return how many queries at once cost less one by one than list by list; None for any number.

    Only where a store decides. List by list, each list's vectors are unpacked from the store once,
    and all queries that probe it are multiplied with them.

    Arguments are those of `query_ns`.
    """
    lists = max(1, plan.lists)
    unpacked = lists * _UNPACKED[0] + rows * dim * _UNPACKED[1]
    compared = rows * min(lists, effort.nprobe or lists) / lists
    centroids = lists * plan.scanned_dim(dim) * _CENTROID
    together = centroids + compared * (_COMPARED[0] + _COMPARED[1] * dim)
    saved = query_ns(plan, effort, rows, dim, k) - together
    return max(1, int(unpacked / saved)) if saved > 0 else None
