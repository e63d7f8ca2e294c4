"""Named moments around every durable step, so that a test can end the process at each of them.

A file is `<thing> written` when it lies complete under a temporary name, and `<thing> named` when
it has its own. A table is `<table> to commit` before its Delta commit, `<table> committed` after.
docs/architecture.md lists all points and what a crash at each leaves behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]
_listeners: list[Listener] = []


def reach(point: str) -> None:
    """Tell all listeners that a point has been reached; nobody listens outside of tests."""
    for listener in tuple(_listeners):
        listener(point)


@contextmanager
def watching(listener: Listener) -> Iterator[None]:
    """Receive the points that everything inside the block reaches."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
