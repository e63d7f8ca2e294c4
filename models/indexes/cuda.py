"""Searches on a GPU: FAISS's copy of an index there answers; the index, and its file, stay.

FAISS 1.15 copies flat vectors and inverted lists of float32, float16 or 8 bits (`GpuCloner.cpp`),
behind a padding, too. Its GPU searches know no `IDSelector`, and select 2,048 things at the most
(its wiki, "Faiss on the GPU"). CAGRA is in its builds with cuVS alone, as a graph of its own.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from latentlake.errors import ConfigError
from models.indexes.faiss_library import cuda_library
from models.indexes.plans import IndexKind, IndexPlan, SearchParameters
from models.indexes.results import NO_ROW, Neighbours, from_faiss
from models.indexes.selectors import flags_of
from models.indexes.streams import prepared

if TYPE_CHECKING:
    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix, RowIds

MOST_SELECTED: Final = 2048
"""Neighbours, and lists a query, that FAISS's kernels select."""
_COPIED: Final = (
    IndexKind.FLAT,
    IndexKind.IVF_FLAT,
    IndexKind.IVF_SQFP16,
    IndexKind.IVF_SQ8,
)

logger = logging.getLogger(__name__)


def reason_to_stay(plan: IndexPlan) -> str | None:
    """Say why an index is searched on the processor all the same; None where FAISS can copy it."""
    if plan.kind not in _COPIED:
        return f"FAISS copies no '{plan.factory}' to a GPU, only the kinds {', '.join(_COPIED)}"
    if "_HNSW" in plan.factory:
        return f"the lists of '{plan.factory}' are found by HNSW, which FAISS copies to no GPU"
    return None


class CudaIndex:
    """A `VectorIndex` whose copy on the first GPU answers where it can; else the index does.

    The copy is made when it is first searched. Threads may share it: what FAISS lends a GPU search
    serves one at a time, so that they wait for each other.

    Attributes:
        index: on the processor.
        plan: what was built.
    """

    def __init__(self, index: VectorIndex) -> None:
        """Take an index that has no `reason_to_stay`."""
        self.index, self.plan = index, index.plan
        lists = index.lists
        self._nprobe = min(lists or 0, index.plan.search_parameters.nprobe or 1)
        effort = SearchParameters(nprobe=self._nprobe)
        self._parameters = index.layers.parameters(effort) if lists else None
        self._copy: Any = None
        self._lock = Lock()

    def search(self, queries: Matrix, k: int, allowed: RowIds | None = None) -> Neighbours:
        """Find the k nearest rows of each query, as `VectorIndex.search` does.

        Rows that may not be found are searched for all the same and left out afterwards; where they
        are more than FAISS selects, the index answers. It also answers queries whose lists hold
        fewer than k rows, as it probes more of them.

        Raises:
            ConfigError: there is no GPU, or it does not take the copy.
            IndexMismatchError, InvalidVectorsError: see `prepared`.
        """
        rows = self.index.rows
        flags = np.ones(rows, np.bool_) if allowed is None else flags_of(rows, allowed)
        available = int(np.count_nonzero(flags))
        asked = k + rows - available
        if max(asked, self._nprobe) > MOST_SELECTED or not available:
            logger.info("searched on the processor", extra={"rows": asked, "lists": self._nprobe})
            return self.index.search(queries, k, allowed)
        ready = prepared(queries, self.index.dim, self.index.metric)
        distances, found = self._answers(ready, asked)
        nearest = Neighbours(found, from_faiss(distances, found, self.index.metric))
        nearest = nearest.among((found != NO_ROW) & flags[found], k)
        short = np.flatnonzero(nearest.rows[:, min(k, available) - 1] == NO_ROW)
        if short.size:
            again = self.index.search(queries[short], k, allowed)
            nearest.rows[short], nearest.similarities[short] = again.rows, again.similarities
        return nearest

    def _answers(self, ready: Matrix, k: int) -> tuple[Matrix, RowIds]:
        with self._lock:
            if self._copy is None:
                self._copy = _copied(self.index.layers.whole)
            distances, rows = self._copy.search(ready, k, params=self._parameters)
        return distances, rows


def _copied(whole: Any) -> Any:
    """Copy a FAISS index to the first GPU.

    Raises:
        ConfigError: there is none, or its memory does not suffice.
    """
    faiss = cuda_library()
    options = faiss.GpuClonerOptions()
    options.use_cuvs = False  # on by default in FAISS's builds with cuVS, which refuses some kinds
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, whole, options)
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or "out of memory"
        raise ConfigError(
            "index.device is 'cuda', but the index cannot be copied to the GPU; with "
            f"index.device = 'cpu' the processor searches it. FAISS says: {reason}"
        ) from error
