"""Progress on stderr: bars on a terminal, now and then a plain line in a log, or nothing."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from latentlake.progress import ProgressEvent, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

LINE_EVERY_S: Final = 5.0


@contextmanager
def drawing(*, quiet: bool) -> Iterator[None]:
    """Draw the progress of everything that runs inside the block."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        with _bars() as draw, listening(draw):
            yield
    else:
        with listening(LinePrinter(lambda line: print(line, file=sys.stderr, flush=True))):
            yield


@contextmanager
def _bars() -> Iterator[Callable[[ProgressEvent], None]]:
    """Yield a listener that draws a bar a stage; a stage without a total counts up."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    progress = Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    with progress:
        yield BarDrawer(progress)


@dataclass
class BarDrawer:
    """A listener that keeps one bar of a `rich.progress.Progress` a stage."""

    progress: Progress
    _bars: dict[str, TaskID] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: ProgressEvent) -> None:
        """Draw one event; stages report from several threads."""
        with self._lock:
            if event.stage not in self._bars:
                self._bars[event.stage] = self.progress.add_task(event.stage, total=None, count="")
            bar = self._bars[event.stage]
        self.progress.update(bar, total=event.total, completed=event.done, count=count_text(event))


@dataclass
class LinePrinter:
    """A listener for logs: a stage's start, its end, and between them a line every few seconds.

    Attributes:
        write: takes a line.
        clock: seconds, for tests.
    """

    write: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _written: dict[str, float] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: ProgressEvent) -> None:
        """Write a line if one is due."""
        with self._lock:
            now = self.clock()
            is_end = event.total is not None and event.done >= event.total
            last = self._written.get(event.stage)
            is_due = last is None or is_end or now - last >= LINE_EVERY_S
            if not is_due or event.stage in self._ended or event.total == 0:
                return
            self._written[event.stage] = now
            if is_end:
                self._ended.add(event.stage)
        self.write(f"{event.stage}: {count_text(event)}")


def count_text(event: ProgressEvent) -> str:
    """Say how far a stage is: "1,024 of 39,907 items", "1,024 items" or "40 %"."""
    if event.unit == "%":
        return f"{event.done} %"
    total = "" if event.total is None else f" of {event.total:,}"
    return f"{event.done:,}{total} {event.unit}"
