"""Giving memory that is free back to the system.

Arrow's allocator and the C library keep what was freed, for the next time. Where a stage goes on to
something else, the next time does not come, and one part's leavings add to the next part's needs.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

import pyarrow as pa

_FEW_ROWS: Final = 200_000
"""What a stage leaves behind of so many rows, some 60 MB, the next one may as well use again."""


def release_unused(rows: int | None = None) -> None:
    """Return freed memory to the system; takes milliseconds, and as much again where it is used.

    Args:
        rows: that what was freed belonged to; nothing is done where they are few. None where it may
            be of any size.
    """
    if rows is not None and rows <= _FEW_ROWS:
        return
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
