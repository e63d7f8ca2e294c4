"""The real command, in a process that kills itself: `python -m ... POINT TRACE -- run --quiet`."""

from __future__ import annotations

import os
import sys

from latentlake.cli.main import cli
from latentlake.commit_points import watching
from tests.faults.forks import killer

if __name__ == "__main__":
    point, trace, _, *arguments = sys.argv[1:]
    descriptor = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with watching(killer(point, 1, descriptor)):
        cli(arguments)
