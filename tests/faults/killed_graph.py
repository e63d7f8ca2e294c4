"""Build a graph in many parts, and die at one: `python -m ... FOLDER TRACE POINT COUNT`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest.mock import patch

from latentlake.commit_points import watching
from models.analysis import graph, linking
from models.indexes import cells
from tasks.stages import neighbours
from tests.faults.forks import killer
from tests.faults.lakes import run_whole
from tests.tasks.stages.test_own_vectors import Own

if __name__ == "__main__":
    folder, trace, point, count = sys.argv[1:]
    descriptor = os.open(trace, os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
    with (
        # Small sets are linked by brute force, at once.
        patch.object(cells, "CELL_ROWS", 5),
        patch.object(linking, "_KEPT_PARTS", 24),
        patch.object(neighbours, "_KEPT_ROWS", 0),
        patch.object(graph, "is_exact_affordable", lambda *_: False),
        patch.object(neighbours, "is_exact_affordable", lambda *_: False),
        watching(killer(point, int(count), descriptor)),
    ):
        assert not run_whole(Own(Path(folder))).errors
