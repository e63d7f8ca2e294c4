"""How an index learns its lists and codes from a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from models.indexes.faiss_library import library, single_thread
from models.indexes.principal import fix_axes, principal_axes

if TYPE_CHECKING:
    from models.indexes.layers import Layers
    from models.types import Matrix

_ITERATIONS: Final = 5
"""Of k-means for lists: FAISS's 10 take twice the time and find no more."""
_CODEBOOK_ITERATIONS: Final = 8
_CODEBOOK_POINTS: Final = 64
"""Of k-means for the 16 centroids of two dimensions each; FAISS's 25 and 256 find no more."""


def learn(layers: Layers, ready: Matrix, seed: int, axes: Matrix | None = None) -> None:
    """Learn lists and codes; the same sample and seed learn the same.

    Args:
        layers: of the index, without rows.
        ready: (rows, dim) float32, prepared.
        seed: of the k-means behind inverted lists.
        axes: the principal ones of a projection, if they are known already.
    """
    lists = layers.lists
    if lists is not None:
        lists.cp.seed, lists.cp.niter = seed, _ITERATIONS
        # The plan bounds the lists; below one list's worth FAISS would print a warning.
        lists.cp.min_points_per_centroid = 1
    if layers.is_projected:
        fix_axes(layers.transform, principal_axes(ready)[1] if axes is None else axes)
    if hasattr(lists, "pq"):
        _learn_parts(layers.whole, lists, ready)
    else:
        layers.whole.train(ready)


def _learn_parts(whole: Any, lists: Any, ready: Matrix) -> None:
    """Learn lists, then PQ's parts on one thread: shared out, they take four times as long."""
    faiss, parts = library(), lists.pq
    parts.cp.niter, parts.cp.max_points_per_centroid = _CODEBOOK_ITERATIONS, _CODEBOOK_POINTS
    lists.train_q1(ready.shape[0], faiss.swig_ptr(ready), lists.verbose, lists.metric_type)
    with single_thread():
        whole.train(ready)  # leaves lists that are there
    # Rows are coded in three quarters of the time.
    parts.sync_transposed_centroids()
