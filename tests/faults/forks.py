"""Processes that run the real stages and are killed by SIGKILL, quickly and many.

`python -m tests.faults.forks` is a server: it imports everything once, uses none of it, and forks a
process for each line on stdin. (A fork of pytest itself would inherit the half-alive thread pools
of Arrow and delta-rs.) `Forks` is its client.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process to start.

    Attributes:
        folder: the project's.
        point: kill it where it reaches this commit point ...
        count: ... for the so-manieth time.
        after_s: kill it after so many seconds.
        file_to_see: kill it when a file of this name has bytes in the lake's folder of work.
        copies: start so many at once, and kill none.
    """

    folder: str
    point: str | None = None
    count: int = 1
    after_s: float | None = None
    file_to_see: str | None = None
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended.

    Attributes:
        codes: exit status of each copy; -9 is killed.
        points: the commit points that were reached, in order.
        seconds: from fork to end.
        errors: what copies wrote to stderr.
    """

    codes: tuple[int, ...]
    points: tuple[str, ...]
    seconds: float
    errors: str

    @property
    def was_killed(self) -> bool:
        return self.codes == (-signal.SIGKILL,)


class Forks:
    """The server's client; a context manager."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(LIMIT_S)
        self._server.stdout.close()

    def run(self, attempt: Attempt) -> Ended:
        """Start a process, and wait until it has ended or was killed."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asdict(attempt)) + "\n")
        self._server.stdin.flush()
        reply = json.loads(self._server.stdout.readline())
        codes, points = tuple(reply["codes"]), tuple(reply["points"])
        return Ended(codes, points, reply["seconds"], reply["errors"])


def serve() -> None:
    """Fork for each request, until stdin ends."""
    import botocore.session  # noqa: F401  imported once for all children
    import faiss  # noqa: F401
    import gensim.models  # noqa: F401
    import sklearn.feature_extraction.text  # noqa: F401
    import torch  # noqa: F401

    import data.stores.sql  # noqa: F401
    import models.encoders.efficientnet_lite
    import models.encoders.engines.torch_engine  # noqa: F401
    import tests.faults.lakes  # noqa: F401
    from data.stores.connection import connect

    if "AWS_ENDPOINT_URL" in os.environ:
        connect()  # reads descriptions of S3 for all children; no connection is opened
    for line in sys.stdin:
        print(json.dumps(_served(Attempt(**json.loads(line)))), flush=True)


def _served(attempt: Attempt) -> dict[str, Any]:
    trace = Path(f"{attempt.folder}.points")
    errors = Path(f"{attempt.folder}.stderr")
    for path in (trace, errors):
        path.write_text("")
    began = time.monotonic()
    children = [_start(attempt, trace, errors) for _ in range(attempt.copies)]
    limit = LIMIT_S if attempt.after_s is None else attempt.after_s
    codes = [_waited(child, began + limit, attempt) for child in children]
    return {
        "codes": codes,
        "points": trace.read_text().splitlines(),
        "seconds": time.monotonic() - began,
        "errors": errors.read_text(),
    }


def _start(attempt: Attempt, trace: Path, errors: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        flags = os.O_WRONLY | os.O_APPEND
        os.dup2(os.open(errors, flags), 2)
        os.dup2(2, 1)
        _work(attempt, os.open(trace, flags))
        code = 0
    except BaseException:  # noqa: BLE001  the child's last words
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _waited(child: int, deadline: float, attempt: Attempt) -> int:
    work = Path(attempt.folder) / "lake" / "work"
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        seen = attempt.file_to_see and any(
            path.stat().st_size for path in work.rglob(attempt.file_to_see)
        )
        if seen or time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.002)


def _work(attempt: Attempt, trace: int) -> None:
    from latentlake.commit_points import watching
    from tests.faults.lakes import run_whole
    from tests.tasks.conftest import Project

    with watching(killer(attempt.point, attempt.count, trace)):
        run_whole(Project(Path(attempt.folder)))


def killer(point: str | None, count: int, trace: int) -> Any:
    """Return a listener that writes points down and kills its own process at one of them."""
    left = count

    def listen(reached: str) -> None:
        nonlocal left
        os.write(trace, f"{reached}\n".encode())
        if reached == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return listen


if __name__ == "__main__":
    serve()
