"""Inner products of vectors of bytes: whole numbers, the same on every processor.

With VNNI a core multiplies bytes about five times as fast as float32. torch has the product; where
it is slow or wrong, on a processor without such instructions, the same bytes are multiplied as
float32, which holds every sum of up to 1,024 products of bytes exactly.

Sums of 32 bits hold what vectors of up to 66,052 dimensions need (`ByteCodes.closely` adds twice as
many products of 127 and -128); sources refuse vectors of more than 65,536.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Bytes = npt.NDArray[np.int8]
    Products = npt.NDArray[np.int32] | npt.NDArray[np.float32]
    Product = Callable[[Bytes, Bytes], Products]

_EXACT: Final = 1024
"""Products of two bytes that float32 sums exactly: 1,024 x 128 x 128 is 2^24."""
_MANY: Final = 50_000_000
"""Numbers of all vectors, from which on importing torch takes less time than it saves."""
_AT_ONCE: Final = 1024
"""Rows of the right side: more of them leave the cache, and are three times as slow."""
_TRIED: Final = (128, 1024, 384)
_ROUNDS: Final = 5


def by_torch(left: Bytes, right: Bytes) -> Products:
    """Multiply bytes: (left, dim) and (right, dim) give whole numbers, (left, right)."""
    if left.shape[1] == 1:  # of which torch 2.13 returns memory that nobody wrote
        return by_float(left, right)
    import torch

    rows = torch.from_numpy(left)
    found: Products = np.empty((left.shape[0], right.shape[0]), np.int32)
    for start in range(0, right.shape[0], _AT_ONCE):
        some = torch.from_numpy(right[start : start + _AT_ONCE])
        found[:, start : start + _AT_ONCE] = torch._int_mm(rows, some.T).numpy()  # noqa: SLF001
    return found


def by_float(left: Bytes, right: Bytes) -> Products:
    """Do the same by numpy's BLAS."""
    if left.shape[1] > _EXACT:
        found = np.zeros((left.shape[0], right.shape[0]), np.int32)
        for start in range(0, left.shape[1], _EXACT):
            part = slice(start, start + _EXACT)
            found += by_float(left[:, part], right[:, part]).astype(np.int32)
        return found
    product: npt.NDArray[np.float32] = left.astype(np.float32) @ right.astype(np.float32).T
    return product


def byte_products() -> Product:
    """Return what multiplies bytes soonest here; both give the same numbers."""
    return _faster() if "torch" in sys.modules else by_float


def prepare_for(numbers: int) -> None:
    """Import torch, which takes a second, where that pays; to be called before threads start.

    Args:
        numbers: rows times dimensions of vectors, each of which meets those around it.
    """
    if numbers >= _MANY:
        import torch  # noqa: F401
    byte_products()


@cache
def _faster() -> Product:
    """Try both on one thread, for a few milliseconds.

    Without VNNI oneDNN, which torch calls, adds products of bytes in 16 bits and cuts off what does
    not fit: there torch is not asked.
    """
    from models.indexes.side_by_side import alone

    draw = np.random.default_rng(0)
    rows, others, dim = _TRIED
    left = draw.integers(-128, 127, (rows, dim), np.int8, endpoint=True)
    right = draw.integers(-128, 127, (others, dim), np.int8, endpoint=True)

    def seconds(product: Product) -> float:
        product(left, right)
        took = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            product(left, right)
            took.append(time.perf_counter() - began)
        return min(took)

    with alone():
        if not np.array_equal(by_torch(left, right), by_float(left, right)):
            return by_float
        return min((by_torch, by_float), key=seconds)
