"""Functions of arrays, compiled to machine code: for what NumPy would do in many passes.

A product of a few hundred vectors takes less time than one pass of NumPy over it. What is compiled
goes through it once, and lets other threads run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    Parameters = ParamSpec("Parameters")
    Result = TypeVar("Result")


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function when it is first called, and keep that for later processes.

    It may call others that are compiled, of its own module only: the code that is kept is made anew
    when its module changes, not when another one does. Numbers are as in Python or NumPy: sums are
    not reordered, so results are the same on every processor.
    """
    try:
        kept: Callable[Parameters, Result] = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the module's folder nor the user's cache can be written
        kept = njit(nogil=True)(function)
    return kept
