"""The parts of a FAISS index: a projection, inverted lists, and a store that decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.indexes.faiss_library import library

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.indexes.plans import SearchParameters
    from models.types import Matrix, RowIds


@dataclass(frozen=True, slots=True)
class Layers:
    """What an index is made of.

    Attributes:
        whole: the index; it owns the others.
        lists: its `IndexIVF`, None without inverted lists.
        transform: the projection or padding before the lists, None where vectors lie there as
            they are.
        store: the flat codes that decide about candidates, None where the lists hold all.
    """

    whole: Any
    lists: Any
    transform: Any
    store: Any

    @classmethod
    def of(cls, index: Any) -> Layers:
        """Take an index apart."""
        faiss = library()
        inner, store, transform = index, None, None
        if isinstance(inner, faiss.IndexRefine):
            store = faiss.downcast_index(inner.refine_index)
            inner = faiss.downcast_index(inner.base_index)
        if isinstance(inner, faiss.IndexPreTransform):
            transform = faiss.downcast_VectorTransform(inner.chain.at(0))
            inner = faiss.downcast_index(inner.index)
        lists = inner if isinstance(inner, faiss.IndexIVF) else None
        return cls(index, lists, transform, store)

    @property
    def is_projected(self) -> bool:
        """Whether vectors in the lists are projections."""
        return isinstance(self.transform, library().LinearTransform)

    @property
    def is_searched_by_lists(self) -> bool:
        """Whether `models.indexes.list_search` can serve: it needs inner products of vectors."""
        inner_product = library().METRIC_INNER_PRODUCT
        return (
            self.lists is not None
            and self.whole.metric_type == inner_product
            and self.holds_vectors
        )

    @property
    def holds_vectors(self) -> bool:
        """Whether it can be asked for the vectors of its rows, as precise as the codes."""
        faiss = library()
        if self.lists is not None:
            holds = (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer)
            return self.store is not None or isinstance(self.lists, holds)
        return self.is_raw

    @property
    def is_raw(self) -> bool:
        """Whether vectors lie in float32, in the order of the rows."""
        return isinstance(self._flat, library().IndexFlat)

    def longest(self, count: int) -> int:
        """Return how many vectors the longest inverted lists hold together."""
        held = self.lists.invlists
        return sum(sorted(map(held.list_size, range(self.lists.nlist)))[-count:])

    def parameters(self, effort: SearchParameters, selector: Any = None) -> Any:
        """Return an effort as FAISS takes it.

        Args:
            effort: how hard to try.
            selector: FAISS's `IDSelector` of the rows to consider; None for all.
        """
        faiss = library()
        if effort.ef_search is not None:
            return faiss.SearchParametersHNSW(efSearch=effort.ef_search, sel=selector)
        if effort.nprobe is None:
            return faiss.SearchParameters(sel=selector)
        inner = faiss.SearchParametersIVF(nprobe=effort.nprobe, sel=selector)
        if self.transform is not None:
            inner = faiss.SearchParametersPreTransform(index_params=inner)
        if self.store is None:
            return inner
        factor = effort.k_factor or 1
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)

    def nearest_lists(self, queries: Matrix, nprobe: int) -> tuple[Matrix, RowIds]:
        """Return FAISS's distances to the nearest centroids of prepared queries, and their lists.

        Returns:
            (queries, nprobe) float32 and int64.
        """
        inside = queries if self.transform is None else self.transform.apply(queries)
        distances, lists = self.lists.quantizer.search(inside, nprobe)
        return distances, lists

    def ranks(self, queries: Matrix, rows: RowIds, most: int) -> RowIds:
        """Return how many lists are nearer to each prepared query than those of some rows.

        The number of all lists stands for those beyond the `most` nearest.
        """
        count, home = int(self.lists.nlist), self.homes()
        distances, order = self.nearest_lists(queries, most)
        farther = np.diff(distances, axis=1, prepend=distances[:, :1]) != 0  # ties share a rank
        place = np.maximum.accumulate(np.where(farther, np.arange(most), 0), axis=1)
        rank = np.full((queries.shape[0], count + 1), count, np.int64)  # the last for "none"
        np.put_along_axis(rank, order, place, axis=1)
        found: RowIds = np.take_along_axis(rank[:, :count], home[rows], axis=1)
        return found

    def homes(self) -> RowIds:
        """Return which list holds each row: (rows,) int64."""
        homes = np.zeros(int(self.whole.ntotal), np.int64)
        for number in range(int(self.lists.nlist)):
            homes[self.ids(number)] = number
        return homes

    def list_lengths(self) -> RowIds:
        """Return how many vectors each list holds: (lists,) int64."""
        held = self.lists.invlists
        return np.array([held.list_size(one) for one in range(self.lists.nlist)], np.int64)

    def ids(self, number: int) -> RowIds:
        """Return the rows in a list, (rows,) int64; a view into the index."""
        faiss, lists = library(), self.lists.invlists
        if lists.list_size(number) == 0:  # there is no memory to view
            return np.empty(0, np.int64)
        found: RowIds = faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number))
        return found

    def codes(self, number: int, rows: RowIds, places: Any = slice(None)) -> Matrix:
        """Return vectors of a list, unpacked, as precise as the codes.

        Args:
            number: the list.
            rows: which rows they are.
            places: where they stand in the list.

        Returns:
            (rows, dim) float32.
        """
        if self.store is not None:
            return self.held(rows)
        faiss, lists = library(), self.lists
        count, width = lists.invlists.list_size(number), lists.code_size
        held = faiss.rev_swig_ptr(lists.invlists.get_codes(number), count * width)
        vectors = _unpacked(lists, held.reshape(count, width)[places])
        if hasattr(lists, "sq") and lists.by_residual:
            vectors += lists.quantizer.reconstruct(number)
        return vectors[:, : self.whole.d]  # without padding

    def held(self, rows: RowIds) -> Matrix:
        """Return vectors of some rows, (rows, dim) float32, of an index without lists or a store.

        Those of inverted lists without a store are found by list: see `codes`.
        """
        return _unpacked(self._flat, self._stored()[rows])

    def nearest_held(self, queries: Matrix, k: int, rows: RowIds) -> tuple[Matrix, RowIds]:
        """Return FAISS's distances to the k nearest of some rows, one by one; see `is_raw`.

        Args:
            queries: (queries, dim) float32, prepared.
            k: how many.
            rows: (any,) int64, each once.

        Returns:
            (queries, k) float32 and int64; row -1 where there are fewer.
        """
        faiss = library()
        some = faiss.SearchParameters(sel=faiss.IDSelectorArray(rows))
        distances, found = self._flat.search(queries, k, params=some)
        return distances, found

    @property
    def _flat(self) -> Any:
        """What holds codes in the order of the rows: a store, a flat index, or that of a graph."""
        if self.store is not None:
            return self.store
        whole = self.whole
        return library().downcast_index(whole.storage) if hasattr(whole, "storage") else whole

    def _stored(self) -> npt.NDArray[np.uint8]:
        store = self._flat
        count, width = store.ntotal, store.code_size
        codes = library().rev_swig_ptr(store.codes.data(), count * width)
        found: npt.NDArray[np.uint8] = codes.reshape(count, width)
        return found


def _unpacked(holder: Any, codes: npt.NDArray[np.uint8]) -> Matrix:
    contiguous = np.ascontiguousarray(codes)
    if not hasattr(holder, "sq"):
        raw: Matrix = contiguous.view(np.float32)
        return raw
    vectors: Matrix = holder.sq.decode(contiguous)
    return vectors
