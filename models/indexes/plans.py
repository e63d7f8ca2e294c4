"""Which index suits how many vectors: a proposal, whose search effort is tuned afterwards.

Figures are queries a second and core at recall@10 .95, over 100k x 384 text vectors:
IVF,Flat 1606, IVF,SQfp16 2841 at half the memory, IVF,SQ8 2337 at a quarter, HNSW32 6049 but ten
times the build. So vectors that would be scanned in milliseconds stay exact, the rest goes to
inverted lists, and HNSW is for those who ask for it. A new kind joins by an `IndexKind`, its branch
in `plan_for` and, where it has an effort of its own, a ladder in `tuning`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from typing import Final, assert_never

from models.indexes.errors import IndexTooLargeError
from models.types import Metric

EXACT_ROWS: Final = 20_000
EXACT_FLOATS: Final = 8_000_000
"""32 MB: one core scans it for a single query in about 3 ms."""
HALF_PRECISION_BYTES: Final = 8 * 2**30
"""Beyond this size in float16 the vectors are kept in 8 bits."""
POINTS_PER_LIST: Final = 39
"""FAISS warns below this many training rows a list, and lists become poor."""
TRAINING_ROWS_PER_LIST: Final = 40
"""64 took a quarter more build time on 60k x 784 pictures and gained no recall."""
GRAPH_COARSE_LISTS: Final = 8192
"""From this many lists on, brute force over their centroids costs more than scanning some."""
TUNING_QUERIES: Final = 500
MEASURING_QUERIES: Final = 1000
MEGABYTE: Final = 10**6


class IndexKind(StrEnum):
    """The index families that latentlake proposes."""

    FLAT = "flat"
    IVF_FLAT = "ivf_flat"
    IVF_SQFP16 = "ivf_sqfp16"
    IVF_SQ8 = "ivf_sq8"
    HNSW = "hnsw"


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """How hard a search tries; None leaves FAISS's default or does not apply.

    Attributes:
        nprobe: inverted lists that are scanned.
        ef_search: candidates that a walk over an HNSW graph keeps.
    """

    nprobe: int | None = None
    ef_search: int | None = None


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What to build and why.

    Attributes:
        factory: a FAISS factory string.
        search_parameters: the effort; `tune` replaces the first guess.
        training_rows: how many rows the training sample has; 0 where nothing is trained.
        reasons: sentences for people, in the order of the decisions.
    """

    factory: str
    search_parameters: SearchParameters
    training_rows: int
    reasons: tuple[str, ...]

    @property
    def is_inverted(self) -> bool:
        """Whether vectors lie in inverted lists."""
        return self.factory.startswith("IVF")

    @property
    def codec(self) -> str:
        """How vectors are coded: "Flat", "SQfp16", "SQ8" or "HNSW32"."""
        return self.factory.rpartition(",")[2]


def is_same_kind(one: IndexPlan, other: IndexPlan) -> bool:
    """Tell whether two plans differ at most in the number of lists and the effort."""
    return (one.is_inverted, one.codec) == (other.is_inverted, other.codec)


def choose_index(rows: int, dim: int, metric: Metric, most_bytes: int | None = None) -> IndexPlan:
    """Propose an index for so many vectors.

    Args:
        rows: how many vectors.
        dim: their length.
        metric: how nearness is measured.
        most_bytes: what the index may take in memory; None for any size.

    Returns:
        The plan, with the reasons for its kind.

    Raises:
        IndexTooLargeError: not even the coarsest codes that serve are small enough.
    """
    kind, reason = _choose_kind(rows, dim, metric)
    plan = plan_for(kind, rows, reasons=(reason,))
    needed = index_bytes(plan, rows, dim)
    if most_bytes is None or needed <= most_bytes:
        return plan
    coarser = [IndexKind.IVF_SQFP16, IndexKind.IVF_SQ8] if metric is Metric.COSINE else []
    least = needed
    for one in coarser:
        reason = (
            f"{plan.factory} would take {needed // MEGABYTE} MB, and limits.memory leaves "
            f"{most_bytes // MEGABYTE} for an index: {_CODES[one]}."
        )
        smaller = plan_for(one, rows, reasons=(reason,))
        least = min(least, index_bytes(smaller, rows, dim))
        if index_bytes(smaller, rows, dim) <= most_bytes:
            return smaller
    raise IndexTooLargeError(rows, dim, least, most_bytes)


_CODES: Final = {IndexKind.IVF_SQFP16: "inverted lists in float16", IndexKind.IVF_SQ8: "in 8 bits"}
_WIDTHS: Final = {"Flat": 4, "SQfp16": 2, "SQ8": 1, "HNSW32": 4}
"""Bytes of a dimension."""
_LINKS: Final = 280
"""Bytes of a row's links in an HNSW graph."""


def index_bytes(plan: IndexPlan, rows: int, dim: int) -> int:
    """Return what an index takes in memory."""
    each = dim * _WIDTHS[plan.codec]
    if plan.is_inverted:
        lists = plan.training_rows // POINTS_PER_LIST
        return rows * (each + 8) + 4 * lists * dim
    return rows * (each + (_LINKS if plan.codec == "HNSW32" else 0))


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


def plan_for(kind: IndexKind, rows: int, reasons: tuple[str, ...] = ()) -> IndexPlan:
    """Return the plan of a kind that someone has decided on.

    Args:
        kind: the family.
        rows: how many vectors the index starts with.
        reasons: why this kind.
    """
    match kind:
        case IndexKind.FLAT:
            return IndexPlan("Flat", SearchParameters(), 0, reasons)
        case IndexKind.HNSW:
            return IndexPlan("HNSW32", SearchParameters(ef_search=64), 0, reasons)
        case IndexKind.IVF_FLAT:
            return _inverted_lists("Flat", rows, reasons)
        case IndexKind.IVF_SQFP16:
            return _inverted_lists("SQfp16", rows, reasons)
        case IndexKind.IVF_SQ8:
            return _inverted_lists("SQ8", rows, reasons)
        case _:
            assert_never(kind)


def held_back(rows: int, *, trained: bool) -> tuple[int, int]:
    """Return how many queries to tune and to measure with; a trained index must not see them.

    A small set keeps at least six rows of seven for training.
    """
    if not trained:
        return min(TUNING_QUERIES, rows // 2), min(MEASURING_QUERIES, rows)
    return min(TUNING_QUERIES, rows // 20), min(MEASURING_QUERIES, rows // 11)


def _inverted_lists(codec: str, rows: int, reasons: tuple[str, ...]) -> IndexPlan:
    """About 3 sqrt(rows) lists balance finding the lists against scanning them."""
    available = max(1, rows - sum(held_back(rows, trained=True)))
    lists = max(1, min(int(3 * sqrt(rows)), available // POINTS_PER_LIST))
    coarse = "_HNSW32" if lists > GRAPH_COARSE_LISTS else ""
    training = min(available, TRAINING_ROWS_PER_LIST * lists)
    why = f"{lists} lists: 3 sqrt(rows), at most one for {POINTS_PER_LIST} training rows."
    return IndexPlan(
        factory=f"IVF{lists}{coarse},{codec}",
        search_parameters=SearchParameters(nprobe=max(1, lists // 64)),
        training_rows=training,
        reasons=(*reasons, why),
    )
