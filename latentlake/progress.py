"""Progress as events: stages say how far they are, whoever listens draws it.

A terminal draws bars, a log gets plain lines, a test collects; stages know none of them. Listeners
are per process, because a task runner's threads do not inherit context variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Listener = Callable[["ProgressEvent"], None]
_listeners: list[Listener] = []


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A step's state.

    Attributes:
        stage: what is running, e.g. "embed cnn".
        done: units finished so far.
        total: units in all, or None while it is not known.
        unit: what is counted, e.g. "items".
    """

    stage: str
    done: int
    total: int | None
    unit: str = "items"


def report_progress(stage: str, done: int, total: int | None, unit: str = "items") -> None:
    """Tell all listeners; costs nothing where there are none."""
    for listener in tuple(_listeners):
        listener(ProgressEvent(stage, done, total, unit))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Receive the events of everything that runs inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
