"""Principal axes without centring: the directions that keep most of the inner products.

FAISS's own PCA takes the mean off, after which inner products are others. The eigenvectors of the
second moments are the projection that loses the least of them (Eckart & Young 1936).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.indexes.faiss_library import library
from models.indexes.side_by_side import alone

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import Matrix

_MOST_ROWS: Final = 5_000
"""More of a random sample change the axes little and cost rows x dim^2."""
_KEPT: Final = 0.95
"""Of the squared length: with .93 on 784 pixels (64 axes) twice as many candidates were needed."""
_STEP: Final = 16
"""Dimensions that a vector register of 8-bit codes takes at once."""


def principal_axes(sample: Matrix) -> tuple[npt.NDArray[np.float64], Matrix]:
    """Return the share of the squared length along each axis, and the axes.

    Args:
        sample: (rows, dim) float32 in random order.

    Returns:
        (dim,) float64, decreasing, of sum 1 unless all is zero; (dim, dim) float32, one axis a row.
    """
    some = sample[:_MOST_ROWS]
    with alone():  # shared out, a matrix so small took two to nine times the processor time
        values, vectors = np.linalg.eigh((some.T @ some).astype(np.float64))
    values = np.maximum(values[::-1], 0.0)
    axes: Matrix = np.ascontiguousarray(vectors[:, ::-1].T, dtype=np.float32)
    return values / max(float(values.sum()), np.finfo(np.float64).tiny), axes


def kept_axes(sample: Matrix) -> Matrix:
    """Return the axes that keep 95 % of the squared length: (a multiple of 16 or all, dim)."""
    shares, axes = principal_axes(sample)
    needed = int(np.searchsorted(np.cumsum(shares), _KEPT)) + 1
    return axes[: min(axes.shape[0], -(-needed // _STEP) * _STEP)]


def fix_axes(transform: Any, axes: Matrix) -> None:
    """Set FAISS's `PCAMatrix` to the first of some axes, without centring."""
    faiss = library()
    faiss.copy_array_to_vector(axes[: transform.d_out].ravel(), transform.A)
    faiss.copy_array_to_vector(np.zeros(transform.d_out, np.float32), transform.b)
    transform.is_trained = True
