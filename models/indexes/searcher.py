"""Nearest rows of a FAISS index: one query at once, many list by list, or some rows only."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from models.indexes.faiss_library import library
from models.indexes.list_search import ListSearch
from models.indexes.plans import SearchParameters
from models.indexes.results import NO_ROW, Neighbours, from_faiss, no_neighbours
from models.indexes.selectors import selector_of
from models.types import Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.indexes.layers import Layers
    from models.indexes.probing import ProbeRule
    from models.types import Matrix


class Searcher:
    """Searches of one index for prepared queries; it changes nothing, so threads may share it.

    Attributes:
        lists: how many inverted lists the index has, None for other kinds.
        is_graph: whether search walks over an HNSW graph.
    """

    def __init__(self, layers: Layers, metric: Metric) -> None:
        self._layers = layers
        self._metric = metric
        self._made: dict[SearchParameters, Any] = {}
        self.lists = None if layers.lists is None else int(layers.lists.nlist)
        self.is_graph = isinstance(layers.whole, library().IndexHNSW)

    def search(
        self, ready: Matrix, k: int, tuned: SearchParameters, rule: ProbeRule | None = None
    ) -> Neighbours:
        """Find the k nearest rows of each query.

        Args:
            ready: (queries, dim) float32, prepared.
            k: how many, at least 1.
            tuned: how hard to try.
            rule: which lists are probed, one after the other with all queries that probe it;
                only where `Layers.is_searched_by_lists`.
        """
        if ready.shape[0] == 1 and (alone := self._alone(ready, k, tuned)):
            return alone
        rows = int(self._layers.whole.ntotal)
        if ready.shape[0] == 0 or rows == 0:
            return no_neighbours(ready.shape[0], k)
        effort = self.effort(tuned)
        found = (
            self._list_by_list(ready, k, effort, rule=rule)
            if rule or self._meets_lists_often(ready)
            else self._nearest(ready, k, self.parameters(effort))
        )
        return self._with_more_effort(found, ready, effort, last=min(k, rows) - 1)

    def search_among(
        self,
        ready: Matrix,
        k: int,
        tuned: SearchParameters,
        allowed: npt.NDArray[np.bool_],
        rule: ProbeRule | None = None,
    ) -> Neighbours:
        """Find the k nearest allowed rows of each query; the fewer there are, the harder it tries.

        Args:
            ready: (queries, dim) float32, prepared.
            k: how many, at least 1.
            tuned: the effort for all rows.
            allowed: (rows,) one flag a row.
            rule: see `search`.
        """
        available = int(np.count_nonzero(allowed))
        if ready.shape[0] == 0 or available == 0:
            return no_neighbours(ready.shape[0], k)
        effort = self.effort(tuned, allowed.size / available)
        selector = selector_of(allowed)
        found = (
            self._list_by_list(ready, k, effort, allowed, rule)
            if rule or self._meets_lists_often(ready)
            else self._nearest(ready, k, self.parameters(effort, selector))
        )
        return self._with_more_effort(
            found, ready, effort, last=min(k, available) - 1, selector=selector
        )

    def effort(self, tuned: SearchParameters, widen: float = 1.0) -> SearchParameters:
        """Return an effort multiplied within the bounds of what the index has."""
        if self.lists is not None:
            nprobe = min(self.lists, ceil((tuned.nprobe or 1) * widen))
            return tuned if nprobe == tuned.nprobe else replace(tuned, nprobe=nprobe)
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
        parameters = self.parameters(self.effort(tuned))
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
        rule: ProbeRule | None = None,
    ) -> Neighbours:
        lists = ListSearch(self._layers, effort.nprobe or 1, allowed, rule)
        distances, rows = lists.nearest(ready, k)
        return Neighbours(rows, from_faiss(distances, rows, self._metric))

    def _meets_lists_often(self, ready: Matrix) -> bool:
        """Tell whether so many queries are cheaper list by list."""
        return ready.shape[0] >= (self.lists or 0) and self._layers.is_searched_by_lists

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
