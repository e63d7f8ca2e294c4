"""Giving memory that is free back to the system.

Arrow's allocator and the C library keep what was freed, for the next time. Where a stage goes on to
something else, the next time does not come, and one part's leavings add to the next part's needs.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

import pyarrow as pa

_LEAST_BYTES: Final = 64 * 2**20
"""Fewer are kept for the next stage. To give 30 MB back five times, and to have as much filled with
zeros by the system again, took a batch of 1,000 among 100,000 texts a tenth of its time."""


def release_unused(freed_bytes: int) -> None:
    """Return freed memory to the system, if it is much; takes milliseconds.

    Args:
        freed_bytes: about how much the caller has freed.
    """
    if freed_bytes < _LEAST_BYTES:
        return
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
