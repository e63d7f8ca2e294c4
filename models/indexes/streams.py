"""Reading from `Vectors`: checked and scaled batches, and the few rows that a sample names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from models.indexes.errors import IndexMismatchError, InvalidVectorsError
from models.types import Matrix, Metric, RowIds, Vectors

Progress = Callable[[str, float], None]
"""Takes a step's name and the fraction of it that is done."""

BATCH_BYTES: Final = 64 * 2**20
"""Memory of one batch of a stream: large enough for BLAS, small beside an index."""
_UNIT: Final = 1e-6
"""How far from 1 a squared length is by the rounding of float32: such a row is a unit vector."""
_LONGEST: Final = 2.0**125
"""A squared length: float32 holds four times as much, which is how far apart two such vectors may
be, squared. FAISS ends the process in k-means of longer ones."""


def silent(step: str, fraction: float) -> None:
    """Report nothing."""


def batch_rows(dim: int) -> int:
    """Return how many float32 vectors make a batch of `BATCH_BYTES`."""
    return max(1, BATCH_BYTES // (4 * max(1, dim)))


def prepared(vectors: Matrix, dim: int, metric: Metric) -> Matrix:
    """Check vectors and bring them into the form that FAISS takes for a metric.

    A single query passes through here too, so it takes few calls: squared lengths tell at once
    whether a value is not finite and whether a row has to be scaled.

    Args:
        vectors: (rows, dim), any float type.
        dim: what they must have.
        metric: for the cosine, rows are scaled to length 1; rows of length 0 stay 0.

    Returns:
        (rows, dim) float32, C-contiguous; the input itself where nothing had to change.

    Raises:
        IndexMismatchError: they have another dimension.
        InvalidVectorsError: not a matrix, or with NaN or infinite values; or vectors, not to be
            scaled, with squared lengths above 2^125.
    """
    matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    if matrix.ndim != 2:  # noqa: PLR2004 - a matrix has two axes
        raise InvalidVectorsError(f"shape {matrix.shape} where (rows, {dim}) is expected")
    if matrix.shape[1] != dim:
        raise IndexMismatchError("the vectors' dimension", matrix.shape[1], dim)
    with np.errstate(over="ignore"):
        if matrix.shape[0] == 1 and abs(np.dot(matrix[0], matrix[0]) - 1.0) <= _UNIT:
            return matrix
        squares: npt.NDArray[np.floating] = np.vecdot(matrix, matrix)
    off = np.abs(squares - 1.0)
    if off.max(initial=0.0) <= _UNIT:
        return matrix
    if not np.isfinite(off).all():
        squares = _checked_squares(matrix)
    if metric is not Metric.COSINE:
        _check_lengths(squares, metric)
        return matrix
    lengths = np.where((off <= _UNIT) | (squares == 0), 1.0, np.sqrt(squares))
    return (matrix / lengths[:, None]).astype(np.float32, copy=False)


def _checked_squares(matrix: Matrix) -> npt.NDArray[np.floating]:
    """Return squared lengths that float32 cannot hold, once all values are known to be finite."""
    if not np.isfinite(matrix).all():
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        raise InvalidVectorsError(f"{bad.size} with NaN or infinite values, first at {bad[0]}")
    squares: npt.NDArray[np.floating] = np.square(matrix, dtype=np.float64).sum(axis=1)
    return squares


def _check_lengths(squares: npt.NDArray[np.floating], metric: Metric) -> None:
    if squares.max(initial=0.0) > _LONGEST:
        bad = np.flatnonzero(squares > _LONGEST)
        raise InvalidVectorsError(
            f"{bad.size} longer than {_LONGEST**0.5:.1e}, first at {bad[0]}: float32 does not hold "
            f"similarities by {metric.value}; scale them, or take the cosine"
        )


def prepared_batches(
    vectors: Vectors, metric: Metric, rows: int | None = None
) -> Iterator[tuple[int, Matrix]]:
    """Stream all vectors as (first row, prepared batch); see `prepared` for the errors."""
    start = 0
    for batch in vectors.batches(rows or batch_rows(vectors.dim)):
        yield start, prepared(batch, vectors.dim, metric)
        start += batch.shape[0]


def blocks(vectors: Vectors, size: int) -> Iterator[tuple[int, Matrix]]:
    """Stream all vectors in blocks of exactly `size` rows but for the last, whatever holds them.

    Yields:
        A block's first row, and its vectors as stored.
    """
    start = filled = 0
    block = np.empty((min(size, vectors.rows), vectors.dim), np.float32)
    for batch in vectors.batches(size):
        taken = 0
        while taken < batch.shape[0]:
            part = batch[taken : taken + block.shape[0] - filled]
            block[filled : filled + part.shape[0]] = part
            taken, filled = taken + part.shape[0], filled + part.shape[0]
            if filled == block.shape[0]:
                yield start, block
                start, filled = start + filled, 0
                block = np.empty((min(size, vectors.rows - start), vectors.dim), np.float32)


def take(vectors: Vectors, rows: RowIds) -> Matrix:
    """Read some rows in one pass over what holds them.

    Args:
        vectors: any source.
        rows: (wanted,) int64 in any order, repeats allowed, all in [0, vectors.rows).

    Returns:
        (wanted, dim) float32 in the order of `rows`, as stored (not normalised).
    """
    unique, where = np.unique(rows, return_inverse=True)
    once = unique.size == rows.size
    # Distinct rows are put where they belong as they are read: copies of a sample cost as much.
    place = np.argsort(rows) if once else np.arange(unique.size)
    taken = np.empty((unique.size, vectors.dim), dtype=np.float32)
    start = 0
    for batch in vectors.subset(unique).batches(batch_rows(vectors.dim)):
        taken[place[start : start + batch.shape[0]]] = batch
        start += batch.shape[0]
    return taken if once else taken[where]


def sample(rows: int, size: int, seed: int) -> RowIds:
    """Draw distinct rows at random, in random order: (min(size, rows),) int64."""
    generator = np.random.default_rng(seed)
    return generator.choice(rows, size=min(size, rows), replace=False).astype(np.int64)


def sample_others(rows: int, size: int, seed: int, taken: RowIds) -> RowIds:
    """Draw distinct rows at random that are none of `taken`, distinct ones: (any,) int64."""
    drawn = sample(rows - taken.size, size, seed)
    before = np.sort(taken) - np.arange(taken.size)
    others: RowIds = drawn + np.searchsorted(before, drawn, side="right")
    return others


def selected(vectors: Vectors, rows: RowIds, size: int) -> Iterator[tuple[RowIds, Matrix]]:
    """Stream some rows in one pass over what holds them, in blocks.

    Args:
        vectors: any source.
        rows: (wanted,) int64, ascending, each once.
        size: rows of a block at most.

    Yields:
        A block's rows, and its vectors as stored.
    """
    done = 0
    held: list[Matrix] = []
    for batch in vectors.subset(rows).batches(size):
        held.append(batch)
        if sum(len(part) for part in held) >= size:
            matrix = np.concatenate(held)
            yield rows[done : done + size], matrix[:size]
            done += size
            held = [matrix[size:]]
    if done < rows.size:
        yield rows[done:], np.concatenate(held)
