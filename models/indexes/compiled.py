"""Functions of arrays, compiled to machine code: for what NumPy would do in many passes.

A product of a few hundred vectors takes less time than one pass of NumPy over it. What is compiled
goes through it once, and lets other threads run.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    Parameters = ParamSpec("Parameters")
    Result = TypeVar("Result")

_OPTIONS: Final[dict[str, Any]] = {"nogil": True}


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function when it is first called, and keep that for later processes.

    It may call others that are compiled, of its own module only: the code that is kept is made anew
    when its module changes, not when another one does. Numbers are as in Python or NumPy: sums are
    not reordered, so results are the same on every processor.
    """
    kept = numba.njit(**_OPTIONS)(function)
    with suppress(RuntimeError):  # neither the module's folder nor the user's cache can be written
        kept._cache = _Kept(function)  # noqa: SLF001 - what `njit(cache=True)` does
    found: Callable[Parameters, Result] = kept
    return found


class _Kept(FunctionCache):
    """The machine code of a function, for each kind of arguments that it was called with."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _OneFileEach(self.cache_path, self._impl.filename_base, stamp)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk: another process will compile it again
            super().save_overload(sig, data)


class _OneFileEach(IndexDataCacheFile):
    """Files that are named by all that machine code depends on, and are written whole.

    Numba has an index of its files, and writes it before the code that it tells of. After a process
    that was killed in between, or two that compiled at once, the index names code of an older
    source or for arguments of another type, which later processes would run.
    """

    def save(self, key: Any, data: Any) -> None:
        self._save_data(self._named(key), data)

    def load(self, key: Any) -> Any:
        try:
            return self._load_data(self._named(key))
        except (OSError, EOFError, UnpicklingError):  # there is none, or the power failed meanwhile
            return None

    def _named(self, key: Any) -> str:
        told = repr((numba.__version__, _OPTIONS, self._source_stamp, key))
        name: str = self._data_name(int(sha256(told.encode()).hexdigest()[:16], 16))
        return name
