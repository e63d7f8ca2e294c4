"""Arrow columns of lists as vectors, each row with its own verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

from data.sources.limits import MAX_DIM, MAX_NUMBER
from data.sources.records import VectorBytes
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

Verdict = VectorBytes | BadInputError


def is_vector(kind: pa.DataType) -> bool:
    """Tell whether a column is sure to hold vectors: lists of floats, however they are laid out."""
    element = _element(kind)
    return element is not None and bool(types.is_floating(element))


def may_be_vector(kind: pa.DataType) -> bool:
    """Tell whether a column can serve as vectors where the user says so: lists of numbers."""
    element = _element(kind)
    return element is not None and bool(types.is_floating(element) or types.is_integer(element))


def _element(kind: pa.DataType) -> pa.DataType | None:
    if isinstance(kind, pa.BaseExtensionType):  # arrow.fixed_shape_tensor, for example
        return _element(kind.storage_type)
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if is_list else None


def vector_payloads(column: pa.Array) -> list[Verdict]:
    """Return each row of a column as a vector, or why it is none.

    Args:
        column: lists of numbers of whatever lengths.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    starts, ends = _bounds(column)
    values = column.values
    is_null = np.asarray(values.is_null())
    flat = values.to_numpy(zero_copy_only=False)
    sound = _SoundRows(flat, starts, ends, is_null if values.null_count else None)
    rows = sound.verdicts()
    valid = column.is_valid().to_pylist()
    missing = BadInputError("no vector: it is null or missing")
    return [row if held else missing for row, held in zip(rows, valid, strict=True)]


def matrix_payloads(matrix: npt.NDArray[Any]) -> Iterator[Verdict]:
    """Return each row of a matrix as a vector, or why it is none.

    Args:
        matrix: (rows, dim) of any number type.
    """
    rows, dim = matrix.shape
    starts = np.arange(rows, dtype=np.int64) * dim
    return _SoundRows(matrix.reshape(-1), starts, starts + dim, None).verdicts()


def _bounds(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where each row begins and ends among the column's values."""
    if types.is_fixed_size_list(column.type):
        dim = column.type.list_size
        starts = (np.arange(len(column), dtype=np.int64) + column.offset) * dim
        return starts, starts + dim
    offsets = column.offsets.to_numpy().astype(np.int64)
    return offsets[:-1], offsets[1:]


class _SoundRows:
    """Rows of one flat array of numbers, and what is wrong with each."""

    def __init__(
        self,
        flat: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        is_null: npt.NDArray[np.bool_] | None,
    ) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = flat.astype("<f4")
        numbers += np.float32(0)  # -0 becomes 0: equal vectors are one content
        self._bytes = numbers.data.cast("B") if numbers.size else memoryview(b"")
        self._starts, self._ends = starts, ends
        self._nulls = _counts(is_null, starts, ends)
        self._unsound = _counts(~(np.abs(numbers) <= MAX_NUMBER), starts, ends)

    def verdicts(self) -> Iterator[Verdict]:
        """Yield the rows in order."""
        columns = (self._starts, self._ends, self._nulls, self._unsound)
        for start, end, nulls, unsound in zip(*(c.tolist() for c in columns), strict=True):
            if nulls or unsound or not 0 < end - start <= MAX_DIM:
                yield BadInputError(_reason(end - start, nulls, unsound))
            else:
                yield VectorBytes(self._bytes[4 * start : 4 * end])


def _counts(
    marked: npt.NDArray[np.bool_] | None,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return how many of each row's values are marked."""
    if marked is None:
        return np.zeros(starts.size, np.int64)
    before = np.concatenate(([0], np.cumsum(marked, dtype=np.int64)))
    counts: npt.NDArray[np.int64] = before[ends] - before[starts]
    return counts


def _reason(dim: int, nulls: int, unsound: int) -> str:
    if dim == 0:
        return "no vector: it is empty"
    if dim > MAX_DIM:
        return f"a vector of {dim} numbers; {MAX_DIM} are allowed"
    if nulls:
        return f"{nulls} of its {dim} numbers are null"
    return f"{unsound} of its {dim} numbers are not finite, or beyond {MAX_NUMBER:.1e}"
