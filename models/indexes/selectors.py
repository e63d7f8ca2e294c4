"""Which rows a search may return, as FAISS and numpy take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.indexes.errors import IndexMismatchError
from models.indexes.faiss_library import library

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import RowIds


def require_rows(rows: int, allowed: RowIds) -> None:
    """Check that an index of so many rows has the allowed ones.

    Raises:
        IndexMismatchError: a row that it does not have.
    """
    if allowed.size and (allowed.min() < 0 or allowed.max() >= rows):
        raise IndexMismatchError("the largest allowed row", int(allowed.max()), rows - 1)


def flags_of(rows: int, allowed: RowIds) -> npt.NDArray[np.bool_]:
    """Return one flag a row: (rows,) bool.

    Raises:
        IndexMismatchError: a row that the index does not have.
    """
    require_rows(rows, allowed)
    flags = np.zeros(rows, dtype=np.bool_)
    flags[allowed] = True
    return flags


def selector_of(flags: npt.NDArray[np.bool_]) -> Any:
    """Build a bitmap: one bit a row, and a test costs the same however many are allowed."""
    return library().IDSelectorBitmap(np.packbits(flags, bitorder="little"))
