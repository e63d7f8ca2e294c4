"""Which rows a search may return, as FAISS and numpy take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.indexes.errors import IndexMismatchError
from models.indexes.faiss_library import library

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.types import RowIds


def flags_of(rows: int, allowed: RowIds) -> npt.NDArray[np.bool_]:
    """Return one flag a row: (rows,) bool."""
    flags = np.zeros(rows, dtype=np.bool_)
    flags[allowed] = True
    return flags


def selector_of(rows: int, allowed: RowIds) -> Any:
    """Build a bitmap: one bit a row, and a test costs the same however many are allowed.

    Raises:
        IndexMismatchError: a row that the index does not have.
    """
    if allowed.min() < 0 or allowed.max() >= rows:
        raise IndexMismatchError("the largest allowed row", int(allowed.max()), rows - 1)
    return library().IDSelectorBitmap(np.packbits(flags_of(rows, allowed), bitorder="little"))
