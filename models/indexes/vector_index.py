"""One FAISS index with its metric and tuned effort: search, filter, range search, add."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.indexes.errors import IndexMismatchError, TooManyMatchesError
from models.indexes.exact import faiss_metric
from models.indexes.faiss_library import library, single_thread
from models.indexes.files import IndexHeader, read_index, write_index
from models.indexes.layers import Layers
from models.indexes.list_search import ListSearch
from models.indexes.results import Neighbours, RangeMatches, faiss_radius, from_faiss
from models.indexes.searcher import Searcher
from models.indexes.streams import prepared
from models.indexes.training import learn

if TYPE_CHECKING:
    from pathlib import Path

    from models.indexes.plans import IndexPlan, SearchParameters
    from models.types import Matrix, Metric, RowIds


class VectorIndex:
    """A searchable set of vectors whose rows are numbered 0, 1, ... in the order they were added.

    Searches change nothing, so threads may share one index; `train` and `add` want it alone.
    Similarities are "the larger, the nearer" for each metric (see `models.indexes.results`); those
    of quantised kinds are as precise as the codes. Where a store decides about candidates,
    more queries than `most_alone` find what each would find alone, or nearer rows. So may several
    queries among few allowed rows: all of these are compared where that costs less.

    Attributes:
        layers: the FAISS index and its parts.
        metric: how nearness is measured.
        plan: what was built and how hard a search tries.
        fingerprint: the space's, as stored in the file; empty where nobody has said.
    """

    def __init__(
        self, faiss_index: Any, metric: Metric, plan: IndexPlan, fingerprint: str = ""
    ) -> None:
        self._index = faiss_index
        self.layers = Layers.of(faiss_index)
        self._searcher = Searcher(self.layers, metric, plan)
        self.metric = metric
        self.plan = plan
        self.fingerprint = fingerprint

    @classmethod
    def empty(cls, dim: int, metric: Metric, plan: IndexPlan) -> VectorIndex:
        """Make the index that a plan describes, untrained and without vectors."""
        faiss = library()
        factory = plan.faiss_factory(dim)
        return cls(faiss.index_factory(dim, factory, faiss_metric(metric)), metric, plan)

    @property
    def rows(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """The length of each."""
        return int(self._index.d)

    @property
    def is_trained(self) -> bool:
        """Whether vectors can be added; kinds without training always are."""
        return bool(self._index.is_trained)

    @property
    def lists(self) -> int | None:
        """How many inverted lists it has, None for other kinds."""
        return self._searcher.lists

    @property
    def has_store(self) -> bool:
        """Whether short codes propose candidates and a store decides about them."""
        return self.layers.store is not None

    def most_alone(self, k: int) -> int | None:
        """Return how many queries for k rows are answered as if alone; None for any number."""
        effort = self._searcher.effort(self.plan.search_parameters, k=k)
        return self._searcher.most_alone(k, effort)

    @property
    def list_lengths(self) -> RowIds:
        """How many vectors each inverted list holds: (lists,) int64."""
        return self.layers.list_lengths()

    def centroid_similarities(self, ready: Matrix) -> Matrix:
        """Return how near prepared vectors are to their centroid: (rows,) float32."""
        distances, lists = self.layers.nearest_lists(ready, 1)
        return from_faiss(distances, lists, self.metric)[:, 0]

    def ranks(self, queries: Matrix, rows: RowIds, most: int | None = None) -> RowIds:
        """Return how many lists are nearer to each query than those of some rows.

        Args:
            queries: (queries, dim) float32.
            rows: (queries, any) int64.
            most: lists of a query that are looked at; None for all.

        Returns:
            (queries, any) int64; a query meets a row if it probes more lists than that. The number
            of all lists stands for those that are not looked at.
        """
        ready = prepared(queries, self.dim, self.metric)
        return self.layers.ranks(ready, rows, most or self.lists or 0)

    @property
    def most_met(self) -> int:
        """How many rows a query is compared with at the most."""
        nprobe = self._effort.nprobe
        return self.rows if nprobe is None else self.layers.longest(nprobe)

    @property
    def is_graph(self) -> bool:
        """Whether search walks over an HNSW graph."""
        return self._searcher.is_graph

    def with_parameters(self, parameters: SearchParameters) -> VectorIndex:
        """Return the same index (sharing its vectors) searched with another effort."""
        plan = replace(self.plan, search_parameters=parameters)
        return VectorIndex(self._index, self.metric, plan, self.fingerprint)

    def train(self, sample: Matrix, seed: int, axes: Matrix | None = None) -> None:
        """Learn lists and codes from a sample; the same sample and seed learn the same.

        Args:
            sample: (rows, dim) float32.
            seed: of the k-means behind inverted lists.
            axes: the principal ones of a projection, if they are known already.

        Raises:
            IndexMismatchError, InvalidVectorsError: see `prepared`.
        """
        learn(self.layers, prepared(sample, self.dim, self.metric), seed, axes)

    def add(self, vectors: Matrix) -> None:
        """Append (rows, dim) float32 vectors; they take the next row numbers.

        Raises:
            IndexMismatchError, InvalidVectorsError: see `prepared`.
        """
        ready = prepared(vectors, self.dim, self.metric)
        if self.is_graph:
            # Threads race for edges: only one of them gives the same graph each time.
            with single_thread():
                self._index.add(ready)
        else:
            self._index.add(ready)

    def search(
        self,
        queries: Matrix,
        k: int,
        allowed: RowIds | None = None,
    ) -> Neighbours:
        """Find the k nearest rows of each query.

        Args:
            queries: (queries, dim) float32; scaled inside where the metric is the cosine.
            k: how many, at least 1.
            allowed: (any,) int64, the only rows to consider; None for all. The effort grows as
                they get fewer, so that a filter does not spoil the answer.

        Returns:
            (queries, k) rows and similarities, nearest first; -1 and -inf where there are fewer
            (inverted lists are probed on until k are found).

        Raises:
            IndexMismatchError, InvalidVectorsError: see `prepared`.
        """
        ready = prepared(queries, self.dim, self.metric)
        effort = self.plan.search_parameters
        if allowed is None:
            return self._searcher.search(ready, k, effort)
        return self._searcher.search_among(ready, k, effort, allowed)

    def range_search(
        self, queries: Matrix, threshold: float, most: int | None = None
    ) -> RangeMatches:
        """Find all rows whose similarity reaches a threshold; exact for Flat, else those probed.

        Args:
            queries: (queries, dim) float32.
            threshold: the least similarity; for L2 a negative squared distance.
            most: how many matches the caller can hold; None for any number.

        Returns:
            Every match, the queries' own rows included if they are in the index.

        Raises:
            IndexMismatchError, InvalidVectorsError: see `prepared`.
            TooManyMatchesError: there are more than `most`.
        """
        ready = prepared(queries, self.dim, self.metric)
        if ready.shape[0] == 0 or self.rows == 0:
            nothing = np.empty(0, dtype=np.int64)
            return RangeMatches(nothing, nothing, np.empty(0, dtype=np.float32))
        limit = self.rows * ready.shape[0] if most is None else most
        radius, effort = faiss_radius(threshold, self.metric), self._effort
        if self._searcher.ranges_by_lists(ready, effort):
            lists = ListSearch(self.layers, effort.nprobe or 1)
            queries_of, rows, distances = lists.within(ready, radius, limit)
        else:
            limits, distances, rows = self._index.range_search(
                ready, radius, params=self._searcher.parameters(effort)
            )
            if rows.size > limit:
                raise TooManyMatchesError(rows.size)
            queries_of = np.repeat(np.arange(ready.shape[0]), np.diff(limits.astype(np.int64)))
        return RangeMatches(queries_of, rows, from_faiss(distances, rows, self.metric))

    def nearest_lists(self, vectors: Matrix, count: int) -> RowIds:
        """Return the lists that vectors probe, (any, count) int64; each lies in its first one."""
        return self.layers.nearest_lists(prepared(vectors, self.dim, self.metric), count)[1]

    def save(self, path: Path, fingerprint: str | None = None) -> None:
        """Write the index whole or not at all; plain FAISS can read the file too.

        Args:
            path: the file, replaced if it exists; its folder must exist.
            fingerprint: the space's; None keeps the one the index has.
        """
        if fingerprint is not None:
            self.fingerprint = fingerprint
        write_index(self._index, IndexHeader(self.metric, self.plan, self.fingerprint), path)

    @classmethod
    def load(cls, path: Path) -> VectorIndex:
        """Read an index that `save` wrote.

        Raises:
            IndexFileError: the file is missing, cut short or not one of latentlake's.
        """
        index, header = read_index(path)
        return cls(index, header.metric, header.plan, header.fingerprint)

    def require(self, rows: int, dim: int, metric: Metric) -> None:
        """Check that this index is over certain vectors.

        Raises:
            IndexMismatchError: their number, dimension or metric differs.
        """
        for what, found, expected in (
            ("the vectors' dimension", dim, self.dim),
            ("the metric", metric, self.metric),
            ("the number of vectors", rows, self.rows),
        ):
            if found != expected:
                raise IndexMismatchError(what, found, expected)

    @property
    def _effort(self) -> SearchParameters:
        return self._searcher.effort(self.plan.search_parameters)
