"""Giving memory that is free back to the system.

Arrow's allocator and the C library keep what was freed, for the next time. Where a stage goes on to
something else, the next time does not come, and one part's leavings add to the next part's needs.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def release_unused() -> None:
    """Return freed memory to the system; takes milliseconds."""
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
