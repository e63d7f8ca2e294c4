"""The index families, what each takes in memory, and which of them suit so many vectors.

Vectors that would be scanned in milliseconds stay exact. The rest goes to inverted lists, whose codes
are read in one of two ways: raw, in float16 or 8 bits, which is all there is (`ivf_*`), or short
codes that only propose candidates, which a store of better ones decides about (`projected`, `pq`,
`rabitq`). Which is faster depends on the vectors, not on their number, so `models.indexes.choosing`
tries them on a sample. HNSW is for those who ask for it: its build takes ten times as long.

A new kind joins by an `IndexKind`, its branch in `plan_for`, its bytes here and its price in
`models.indexes.work`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
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
LEAST_CODED_ROWS: Final = 1000
"""Short codes are learnt from rows: with fewer, the vectors are kept as they are."""
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
    PROJECTED = "projected"
    PQ = "pq"
    RABITQ = "rabitq"
    HNSW = "hnsw"

    @property
    def has_store(self) -> bool:
        """Whether short codes propose candidates and a store of better ones decides."""
        return self in (IndexKind.PROJECTED, IndexKind.PQ, IndexKind.RABITQ)


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """How hard a search tries; None leaves FAISS's default or does not apply.

    Attributes:
        nprobe: inverted lists that are scanned.
        ef_search: candidates that a walk over an HNSW graph keeps.
        k_factor: how many candidates for each wanted neighbour short codes propose.
    """

    nprobe: int | None = None
    ef_search: int | None = None
    k_factor: int | None = None


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What to build and why.

    Attributes:
        factory: a FAISS factory string. "PCA" there is without centring, so that inner products
            are kept: see `models.indexes.principal`.
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
        return "IVF" in self.factory

    @property
    def kind(self) -> IndexKind | None:
        """The family; None for a factory string of somebody's own."""
        return next((kind for form, kind in _FORMS.items() if re.match(form, self.factory)), None)

    @property
    def codec(self) -> str:
        """How the codes that decide hold a vector: "Flat", "SQfp16", "SQ8" or "HNSW32"."""
        return self.factory.rpartition(",")[2].removeprefix("Refine(").removesuffix(")")

    @property
    def lists(self) -> int:
        """How many inverted lists there are; 0 without."""
        found = re.search(r"IVF(\d+)", self.factory)
        return int(found[1]) if found else 0

    def scanned_dim(self, dim: int) -> int:
        """Return the dimensions of the vectors in the lists, of `dim` before a projection."""
        found = re.match(r"PCA(\d+)", self.factory)
        return int(found[1]) if found else dim

    def because(self, *reasons: str) -> IndexPlan:
        """Return the plan with further reasons."""
        return replace(self, reasons=(*self.reasons, *reasons))


_FORMS: Final = {
    r"Flat$": IndexKind.FLAT,
    r"HNSW32$": IndexKind.HNSW,
    r"IVF\w+,Flat$": IndexKind.IVF_FLAT,
    r"IVF\w+,SQfp16$": IndexKind.IVF_SQFP16,
    r"IVF\w+,SQ8$": IndexKind.IVF_SQ8,
    r"PCA\d+,IVF\w+,SQ8,": IndexKind.PROJECTED,
    r"IVF\w+,PQ": IndexKind.PQ,
    r"IVF\w+,RaBitQ,": IndexKind.RABITQ,
}


@dataclass(frozen=True, slots=True)
class Coding:
    """What a kind with short codes needs to know of the vectors.

    Attributes:
        dim: their length.
        store: the codes that decide: "SQfp16", "SQ8" or "Flat".
        axes: how many principal axes the kind `projected` keeps; None for half of them.
    """

    dim: int
    store: str = "SQfp16"
    axes: int | None = None


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
        coded = _coded(rows, Coding(dim, plain.codec), reason) if _may_be_coded(plain, metric) else ()
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
    return tuple(plan_for(kind, rows, (reason,), coding) for kind in kinds)


_CODES: Final = {IndexKind.IVF_SQFP16: "inverted lists in float16", IndexKind.IVF_SQ8: "in 8 bits"}
_WIDTHS: Final = {"Flat": 4, "SQfp16": 2, "SQ8": 1, "HNSW32": 4}
"""Bytes of a dimension."""
_LINKS: Final = 280
"""Bytes of a row's links in an HNSW graph."""
_PACKED: Final = 32
"""Rows that FAISS packs together for its fast scan of PQ codes; a list's last pack is half empty."""


def index_bytes(plan: IndexPlan, rows: int, dim: int) -> int:
    """Return what an index takes in memory."""
    stored = dim * _WIDTHS[plan.codec]
    if not plan.is_inverted:
        return rows * (stored + (_LINKS if plan.codec == "HNSW32" else 0))
    lists = max(1, plan.lists)
    centroids = 4 * lists * plan.scanned_dim(dim)
    match plan.kind:
        case IndexKind.PROJECTED:
            axes = plan.scanned_dim(dim)
            return rows * (stored + axes + 8) + centroids + 4 * axes * dim
        case IndexKind.PQ:
            short = _sub_quantisers(dim) / 2
            packed = rows + lists * _PACKED // 2
            return int(rows * (stored + 8) + packed * short) + centroids + 64 * dim
        case IndexKind.RABITQ:
            return rows * (stored + (dim + 7) // 8 + 16) + centroids + 4 * dim
        case _:
            return rows * (stored + 8) + centroids


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


def plan_for(
    kind: IndexKind, rows: int, reasons: tuple[str, ...] = (), coding: Coding | None = None
) -> IndexPlan:
    """Return the plan of a kind that someone has decided on.

    Args:
        kind: the family.
        rows: how many vectors the index starts with; too few to learn short codes make it Flat.
        reasons: why this kind.
        coding: needed by the kinds with short codes.
    """
    if kind.has_store and rows < LEAST_CODED_ROWS:
        reason = f"{rows:,} vectors are too few to learn short codes from, so search is exact."
        return plan_for(IndexKind.FLAT, rows, (*reasons, reason))
    coding = coding or Coding(0)
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
        case IndexKind.PROJECTED:
            axes = coding.axes or max(1, coding.dim // 2)
            return _with_store(f"PCA{axes},", "SQ8", rows, reasons, coding.store)
        case IndexKind.PQ:
            codes = f"PQ{_sub_quantisers(coding.dim)}x4fsr"
            return _with_store("", codes, rows, reasons, coding.store)
        case IndexKind.RABITQ:
            return _with_store("", "RaBitQ", rows, reasons, coding.store)
        case _:
            assert_never(kind)


def _sub_quantisers(dim: int) -> int:
    """Return how many parts a vector is cut into, of 4 bits each: two dimensions a part."""
    return dim // 2 if dim % 2 == 0 else dim


def held_back(rows: int, *, trained: bool) -> tuple[int, int]:
    """Return how many queries to tune and to measure with; a trained index must not see them.

    A small set keeps at least six rows of seven for training.
    """
    if not trained:
        return min(TUNING_QUERIES, rows // 2), min(MEASURING_QUERIES, rows)
    return min(TUNING_QUERIES, rows // 20), min(MEASURING_QUERIES, rows // 11)


_LISTS: Final = {"PQ": 1.5, "RaBitQ": 2.0}
"""Lists by the root of the rows. The shorter its codes, the cheaper a long list is beside finding it:
on 100k x 384 clusters, PQ answers 67k queries a second with 1.5, 45k with 3."""
_ROOTS: Final = 3.0
"""For all other codes."""


def _with_store(
    before: str, codes: str, rows: int, reasons: tuple[str, ...], store: str
) -> IndexPlan:
    roots = next((most for start, most in _LISTS.items() if codes.startswith(start)), _ROOTS)
    plan = _inverted_lists(codes, rows, reasons, roots)
    effort = replace(plan.search_parameters, k_factor=4)
    return replace(plan, factory=f"{before}{plan.factory},Refine({store})", search_parameters=effort)


def _inverted_lists(
    codec: str, rows: int, reasons: tuple[str, ...], roots: float = _ROOTS
) -> IndexPlan:
    """About 3 sqrt(rows) lists balance finding the lists against scanning them."""
    available = max(1, rows - sum(held_back(rows, trained=True)))
    lists = max(1, min(int(roots * sqrt(rows)), available // POINTS_PER_LIST))
    coarse = "_HNSW32" if lists > GRAPH_COARSE_LISTS else ""
    training = min(available, TRAINING_ROWS_PER_LIST * lists)
    why = f"{lists} lists: {roots:g} sqrt(rows), at most one for {POINTS_PER_LIST} training rows."
    return IndexPlan(
        factory=f"IVF{lists}{coarse},{codec}",
        search_parameters=SearchParameters(nprobe=max(1, lists // 64)),
        training_rows=training,
        reasons=(*reasons, why),
    )
