"""The index families: what each is made of and what it takes in memory.

Inverted lists are read in one of two ways: vectors in float32, float16 or 8 bits, which is all
there is (`ivf_*`), or short codes that only propose candidates, about which a store of better codes
decides (`projected`, `pq`, `rabitq`). HNSW is for those who ask for it: its build takes ten times
as long.

A new kind joins by an `IndexKind`, its branch in `plan_for`, its bytes here and its price in
`models.indexes.work`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from math import sqrt
from typing import Final

POINTS_PER_LIST: Final = 39
"""FAISS warns below this many training rows a list, and lists become poor."""
TRAINING_ROWS_PER_LIST: Final = 40
"""64 took a quarter more build time on 60k x 784 pictures and gained no recall."""
LEAST_CODED_ROWS: Final = 1000
"""Short codes are learnt from rows: with fewer, the vectors are kept as they are."""
GRAPH_COARSE_LISTS: Final = 8192
"""From this many lists on, brute force over their centroids costs more than scanning some."""
MOST_FACTOR: Final = 32
"""Candidates for each wanted neighbour that short codes propose at the most."""
TUNED_K: Final = 10
"""Neighbours that a search's effort is tuned, and its recall measured, for."""
TUNING_QUERIES: Final = 500
MEASURING_QUERIES: Final = 1000


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
    k_factor: float | None = None


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What to build and why.

    Attributes:
        factory: a FAISS factory string. "PCA" there is without centring: see
            `models.indexes.principal`.
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

    @property
    def parts(self) -> int:
        """Into how many parts, of 4 bits each, PQ cuts a vector; 0 without PQ."""
        found = re.search(r"PQ(\d+)", self.factory)
        return int(found[1]) if found else 0

    @property
    def name(self) -> str:
        """The kind, and what it is further told by: "pq96" has 96 parts."""
        return f"{self.kind or self.factory}{self.parts or ''}"

    def scanned_dim(self, dim: int) -> int:
        """Return the dimensions of the vectors in the lists, of `dim` as they are given."""
        if self.kind in _SCALAR:
            return -(-dim // _LANES) * _LANES
        found = re.match(r"PCA(\d+)", self.factory)
        return int(found[1]) if found else dim

    def faiss_factory(self, dim: int) -> str:
        """Return the string that FAISS builds the index by: with the padding, if there is one."""
        padded = self.scanned_dim(dim)
        return f"Pad{padded},{self.factory}" if padded > dim else self.factory

    def because(self, *reasons: str) -> IndexPlan:
        """Return the plan with further reasons."""
        return replace(self, reasons=(*self.reasons, *reasons))


_LANES: Final = 8
"""FAISS takes so many scalar codes at once; vectors of other lengths get zeros at their end. It
compares 100 dimensions one by one, in 152 ns a vector, and 104 in 22 ns."""
_SCALAR: Final = (IndexKind.IVF_SQFP16, IndexKind.IVF_SQ8)
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
        parts: into how many PQ cuts a vector, a divisor of `dim`; None for two dimensions a part.
    """

    dim: int
    store: str = "SQfp16"
    axes: int | None = None
    parts: int | None = None


_WIDTHS: Final = {"Flat": 4, "SQfp16": 2, "SQ8": 1, "HNSW32": 4}
"""Bytes of a dimension."""
_LINKS: Final = 280
"""Bytes of a row's links in an HNSW graph."""
_PACKED: Final = 32
"""Rows that FAISS packs together for its fast scan of PQ codes; the last ones are half empty."""


def index_bytes(plan: IndexPlan, rows: int, dim: int) -> int:
    """Return what an index takes in memory."""
    stored = (plan.scanned_dim(dim) if plan.kind in _SCALAR else dim) * _WIDTHS[plan.codec]
    if not plan.is_inverted:
        return rows * (stored + (_LINKS if plan.codec == "HNSW32" else 0))
    lists = max(1, plan.lists)
    centroids = 4 * lists * plan.scanned_dim(dim)
    match plan.kind:
        case IndexKind.PROJECTED:
            axes = plan.scanned_dim(dim)
            return rows * (stored + axes + 8) + centroids + 4 * axes * dim
        case IndexKind.PQ:
            short = plan.parts / 2
            packed = rows + lists * _PACKED // 2
            return int(rows * (stored + 8) + packed * short) + centroids + 64 * dim
        case IndexKind.RABITQ:
            return rows * (stored + (dim + 7) // 8 + 16) + centroids + 4 * dim
        case _:
            return rows * (stored + 8) + centroids


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
    if kind.has_store:
        return _with_store(kind, rows, reasons, coding or Coding(0))
    if kind in _RAW:
        return _inverted_lists(_RAW[kind], rows, reasons)
    if kind is IndexKind.HNSW:
        return IndexPlan("HNSW32", SearchParameters(ef_search=64), 0, reasons)
    return IndexPlan("Flat", SearchParameters(), 0, reasons)


_RAW: Final = {
    IndexKind.IVF_FLAT: "Flat",
    IndexKind.IVF_SQFP16: "SQfp16",
    IndexKind.IVF_SQ8: "SQ8",
}


def pq_parts(dim: int) -> tuple[int, ...]:
    """Return into how many parts PQ may cut vectors: two dimensions a part, and four.

    A table for each part is made for each query: half as many take half the time, and propose more
    candidates. Which costs less depends on how many rows are nearly as near as the neighbours.
    """
    fine = dim // 2 if dim % 2 == 0 else dim
    return (fine, dim // 4) if dim % 4 == 0 else (fine,)


def held_back(rows: int, *, trained: bool) -> tuple[int, int]:
    """Return how many queries to tune and to measure with; a trained index must not see them.

    A small set keeps at least six rows of seven for training.
    """
    if not trained:
        return min(TUNING_QUERIES, rows // 2), min(MEASURING_QUERIES, rows)
    return min(TUNING_QUERIES, rows // 20), min(MEASURING_QUERIES, rows // 11)


_ROOTS: Final = 3.0
_FEWER: Final = {IndexKind.PQ: 1.5, IndexKind.RABITQ: 2.0}
"""Lists by the root of the rows. The shorter its codes, the cheaper a long list is beside finding
it: on 100k x 384 clusters PQ answers 67k queries a second with 1.5, 45k with 3."""


def _with_store(kind: IndexKind, rows: int, reasons: tuple[str, ...], coding: Coding) -> IndexPlan:
    codes = {
        IndexKind.PROJECTED: "SQ8",
        IndexKind.PQ: f"PQ{coding.parts or pq_parts(coding.dim)[0]}x4fsr",
        IndexKind.RABITQ: "RaBitQ",
    }[kind]
    plan = _inverted_lists(codes, rows, reasons, _FEWER.get(kind, _ROOTS))
    axes = coding.axes or max(1, coding.dim // 2)
    before = f"PCA{axes}," if kind is IndexKind.PROJECTED else ""
    factory = f"{before}{plan.factory},Refine({coding.store})"
    effort = replace(plan.search_parameters, k_factor=4)
    return replace(plan, factory=factory, search_parameters=effort)


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
