"""Nearest rows of a FAISS index: one query at once, many list by list, or some rows only."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.exact import by_matrices
from models.indexes.faiss_library import library
from models.indexes.list_search import ListSearch
from models.indexes.plans import TUNED_K, SearchParameters
from models.indexes.results import NO_ROW, Neighbours, from_faiss, no_neighbours
from models.indexes.scan import nearest_of
from models.indexes.selectors import flags_of, require_rows, selector_of
from models.indexes.work import filtered_ns, most_alone, scan_ns
from models.types import Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.indexes.layers import Layers
    from models.indexes.plans import IndexPlan
    from models.types import Matrix, RowIds


_GROWTH: Final = 2 / 3
"""Power of all rows by the allowed ones with which probed lists grow: neighbours that lie farther
away are in more lists, but not in as many more. See `benchmarks/filtered_search.py`."""
_OFTEN: Final = 16
"""Queries that meet a list, from which on it pays to unpack it for all of them. Where 100,000
vectors of 384 x float16 lie in 948 lists, 3 queries a list cost 42 ms, 170 list by list; 10 cost
112 and 237; 19 cost 221 and 330; 38 cost 296 and 225. Float32 breaks even at 10, 8 bits at 19."""


class Searcher:
    """Searches of one index for prepared queries; it changes nothing, so threads may share it.

    Attributes:
        lists: how many inverted lists the index has, None for other kinds.
        is_graph: whether search walks over an HNSW graph.
    """

    def __init__(self, layers: Layers, metric: Metric, plan: IndexPlan) -> None:
        self._layers = layers
        self._metric = metric
        self._plan = plan
        self._made: dict[SearchParameters, Any] = {}
        self.lists = None if layers.lists is None else int(layers.lists.nlist)
        self.is_graph = isinstance(layers.whole, library().IndexHNSW)

    def search(self, ready: Matrix, k: int, tuned: SearchParameters) -> Neighbours:
        """Find the k nearest rows of each query.

        Args:
            ready: (queries, dim) float32, prepared.
            k: how many, at least 1.
            tuned: how hard to try.
        """
        if ready.shape[0] == 1 and (alone := self._alone(ready, k, tuned)):
            return alone
        rows = int(self._layers.whole.ntotal)
        if ready.shape[0] == 0 or rows == 0:
            return no_neighbours(ready.shape[0], k)
        effort = self.effort(tuned, k=k)
        found = (
            self._list_by_list(ready, k, effort)
            if self._meets_lists_often(ready, k, effort)
            else self._nearest(ready, k, self.parameters(effort))
        )
        return self._with_more_effort(found, ready, effort, last=min(k, rows) - 1)

    def search_among(
        self,
        ready: Matrix,
        k: int,
        tuned: SearchParameters,
        allowed: RowIds,
    ) -> Neighbours:
        """Find the k nearest allowed rows of each query; the fewer there are, the harder it tries.

        Where they are so few that it costs less, each is compared with every query.

        Args:
            ready: (queries, dim) float32, prepared.
            k: how many, at least 1.
            tuned: the effort for all rows.
            allowed: (any,) int64, rows that may be found.

        Raises:
            IndexMismatchError: a row that the index does not have.
        """
        if ready.shape[0] == 0 or allowed.size == 0:
            return no_neighbours(ready.shape[0], k)
        rows = int(self._layers.whole.ntotal)
        require_rows(rows, allowed)
        effort = self._effort_among(tuned, rows / allowed.size, k)
        if self._is_cheaper_to_scan(ready.shape[0], k, effort, allowed.size):
            return nearest_of(self._layers, ready, k, allowed, self._metric)
        flags = flags_of(rows, allowed)
        available, selector = int(np.count_nonzero(flags)), selector_of(flags)
        effort = self._effort_among(tuned, rows / available, k)
        found = (
            self._list_by_list(ready, k, effort, flags)
            if self._meets_lists_often(ready, k, effort)
            else self._nearest(ready, k, self.parameters(effort, selector))
        )
        return self._with_more_effort(
            found, ready, effort, last=min(k, available) - 1, selector=selector
        )

    def _effort_among(self, tuned: SearchParameters, more: float, k: int) -> SearchParameters:
        """Return the effort where there are so many times more rows than may be found."""
        return self.effort(tuned, more if self.is_graph else more**_GROWTH, k)

    def _is_cheaper_to_scan(
        self, queries: int, k: int, effort: SearchParameters, allowed: int
    ) -> bool:
        """Tell whether comparing queries with all allowed rows costs less than an effort."""
        layers, plan = self._layers, self._plan
        if not layers.holds_vectors:
            return False
        rows, dim = int(layers.whole.ntotal), int(layers.whole.d)
        matrices = by_matrices(queries, dim, self._metric)
        scan = scan_ns(plan, rows, dim, allowed, queries, by_matrices=matrices)
        return scan < queries * filtered_ns(plan, effort, rows, dim, k, allowed)

    def effort(
        self, tuned: SearchParameters, widen: float = 1.0, k: int = TUNED_K
    ) -> SearchParameters:
        """Return an effort multiplied within the bounds of what the index has.

        Short codes propose as many candidates for one neighbour as for the `TUNED_K` that were
        tuned for: the nearest of all is not more surely among the first than the tenth is.
        """
        if self.lists is not None:
            nprobe = min(self.lists, ceil((tuned.nprobe or 1) * widen))
            factor = tuned.k_factor
            if factor is not None and k < TUNED_K:
                factor *= TUNED_K / k
            if (nprobe, factor) == (tuned.nprobe, tuned.k_factor):
                return tuned
            return replace(tuned, nprobe=nprobe, k_factor=factor)
        if self.is_graph:
            most = int(self._layers.whole.ntotal)
            return SearchParameters(ef_search=ceil(min(most, (tuned.ef_search or 64) * widen)))
        return SearchParameters()

    def parameters(self, effort: SearchParameters, selector: Any = None) -> Any:
        """Return an effort as FAISS takes it; without a selector it is made once and shared."""
        if selector is not None:
            return self._layers.parameters(effort, selector)
        made = self._made.get(effort)
        if made is None:
            made = self._made[effort] = self._layers.parameters(effort)
        return made

    def _alone(self, ready: Matrix, k: int, tuned: SearchParameters) -> Neighbours | None:
        """Answer one query without a pass over its k numbers; None where fewer are found.

        Beside the 30 to 40 microseconds that FAISS takes, each numpy call would count.
        """
        parameters = self.parameters(self.effort(tuned, k=k))
        distances, rows = self._layers.whole.search(ready, k, params=parameters)
        if rows[0, -1] == NO_ROW:
            return None
        is_cosine = (
            self._metric is Metric.COSINE and distances[0, 0] <= 1 and distances[0, -1] >= -1
        )
        return Neighbours(
            rows, distances if is_cosine else from_faiss(distances, rows, self._metric)
        )

    def _nearest(self, ready: Matrix, k: int, parameters: Any) -> Neighbours:
        distances, rows = self._layers.whole.search(ready, k, params=parameters)
        return Neighbours(rows, from_faiss(distances, rows, self._metric))

    def _list_by_list(
        self,
        ready: Matrix,
        k: int,
        effort: SearchParameters,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Neighbours:
        lists = ListSearch(self._layers, effort.nprobe or 1, allowed)
        distances, rows = lists.nearest(ready, k)
        return Neighbours(rows, from_faiss(distances, rows, self._metric))

    def most_alone(self, k: int, effort: SearchParameters) -> int | None:
        """Return how many queries at once are answered as if alone; None for any number."""
        if self._layers.store is None:
            return None
        rows, dim = int(self._layers.whole.ntotal), int(self._layers.whole.d)
        return most_alone(self._plan, effort, rows, dim, k)

    def ranges_by_lists(self, ready: Matrix, effort: SearchParameters) -> bool:
        """Tell whether a search within a radius goes list by list: as in `search`, or by a store.

        Args:
            ready: (queries, dim) float32, prepared.
            effort: how hard to try.
        """
        if self._layers.store is not None:
            return self._layers.is_searched_by_lists
        return self._meets_lists_often(ready, TUNED_K, effort)

    def _meets_lists_often(self, ready: Matrix, k: int, effort: SearchParameters) -> bool:
        """Tell whether so many queries are cheaper list by list."""
        if not self._layers.is_searched_by_lists:
            return False
        queries = int(ready.shape[0])
        if self._layers.store is None:
            return queries * (effort.nprobe or 1) >= _OFTEN * (self.lists or 0)
        most = self.most_alone(k, effort)
        return most is not None and queries > most

    def _with_more_effort(
        self,
        found: Neighbours,
        ready: Matrix,
        effort: SearchParameters,
        last: int,
        selector: Any = None,
    ) -> Neighbours:
        """Try harder for queries whose lists, or whose walk over the graph, had fewer than k."""
        while (wider := self.effort(effort, 4.0)) != effort:
            short = np.flatnonzero(found.rows[:, last] == NO_ROW)
            if short.size == 0:
                break
            effort, k = wider, found.rows.shape[1]
            again = self._nearest(ready[short], k, self.parameters(effort, selector))
            found.rows[short], found.similarities[short] = again.rows, again.similarities
        return found
