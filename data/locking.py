"""One writer a lake: a lock that the kernel gives back when its owner dies.

The lock is `flock` on the file `writer.lock`. It belongs to an open file description, so it also
holds between threads, it is not inherited by programs that are started, and a killed owner leaves
nothing that has to expire. Readers take no lock: they read snapshots.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final

from data.disk import writing_to
from latentlake.commit_points import reach
from latentlake.errors import LakeBusyError
from latentlake.progress import report_progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_NAME: Final = "writer.lock"
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes to a lake, for those who wait.

    Attributes:
        command: what it runs.
        process: its process id.
        host: where.
        since: ISO 8601 in UTC; for people only, clocks may differ.
    """

    command: str
    process: int
    host: str
    since: str

    def __str__(self) -> str:
        """Name the owner in a message."""
        return f"'latentlake {self.command}' (process {self.process} on {self.host})"


@contextmanager
def sole_writer(root: Path, command: str, *, wait: bool = True) -> Iterator[None]:
    """Be the only writer of a lake inside the block.

    Args:
        root: the lake's folder; it is made if there is none.
        command: what is going to be done, for those who wait.
        wait: wait for another writer rather than refuse.

    Raises:
        LakeBusyError: another writer is at work, and `wait` is false.
        LakeNotWritableError: the lake is read-only.
    """
    with writing_to(root):
        root.mkdir(parents=True, exist_ok=True)
        file = (root / LOCK_NAME).open("a+", encoding="utf-8")
    with file:
        _acquire(file, root, wait=wait)
        with writing_to(root):
            _sign(file, command)
        reach("lock taken")
        yield


def _acquire(file: IO[str], root: Path, *, wait: bool) -> None:
    began, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(file)
            if not wait:
                raise LakeBusyError(str(root), str(owner or "another process")) from None
            seconds = int(time.monotonic() - began)
            report_progress(f"wait for {owner or 'another process'}", seconds, None, "s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        else:
            return


def _sign(file: IO[str], command: str) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = Owner(command, os.getpid(), socket.gethostname(), since)
    file.truncate(0)
    file.write(json.dumps(asdict(owner)))
    file.flush()


def _owner(file: IO[str]) -> Owner | None:
    """Read who holds the lock; None while the owner is still writing it down."""
    with suppress(ValueError, TypeError):
        file.seek(0)
        return Owner(**json.loads(file.read()))
    return None
