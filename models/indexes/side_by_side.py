"""Many small pieces of work on several threads, their results in order.

A product of a few hundred vectors is too small for a BLAS to share out: on two threads it took six
times the processor time of one. So each thread multiplies alone, and pieces go side by side.
"""

from __future__ import annotations

import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from threadpoolctl import ThreadpoolController

from models.indexes.faiss_library import library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class _Lent:
    """Who multiplies alone just now: the number of BLAS threads is that of the whole process."""

    lock = Lock()
    users = 0
    limit: Any = None
    torch_threads = 0


@cache
def _controller() -> ThreadpoolController:
    library()
    return ThreadpoolController()


@contextmanager
def alone() -> Iterator[None]:
    """Let the BLAS behind NumPy use one thread a product, and torch, where it is loaded.

    Nests, and threads may overlap.
    """
    torch = sys.modules.get("torch")
    with _Lent.lock:
        if _Lent.users == 0:
            _Lent.limit = _controller().limit(limits=1, user_api="blas")
            _Lent.torch_threads = torch.get_num_threads() if torch else 0
        if torch:
            torch.set_num_threads(1)  # of this thread and of those that are started now
        _Lent.users += 1
    try:
        yield
    finally:
        with _Lent.lock:
            _Lent.users -= 1
            if _Lent.users == 0:
                _Lent.limit.restore_original_limits()
            if torch and _Lent.torch_threads:
                torch.set_num_threads(_Lent.torch_threads)


def _work_alone() -> None:
    library().omp_set_num_threads(1)


def workers() -> int:
    """Return how many threads work side by side."""
    return int(library().omp_get_max_threads())


def side_by_side(work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
    """Yield the results of all pieces in order; as many threads work as FAISS may use.

    Two pieces a thread are under way or done at most, so memory is bounded. What a piece gives does
    not depend on the number of threads.
    """
    threads = workers()
    waiting = iter(pieces)
    with alone():
        if threads == 1:
            yield from map(work, waiting)
            return
        with ThreadPoolExecutor(threads, initializer=_work_alone) as pool:
            under_way = deque(pool.submit(work, one) for one in islice(waiting, 2 * threads))
            try:
                while under_way:
                    result = under_way.popleft().result()
                    under_way.extend(pool.submit(work, one) for one in islice(waiting, 1))
                    yield result
            finally:
                for one in under_way:
                    one.cancel()
