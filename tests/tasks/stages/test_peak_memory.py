"""The peak of memory that a run records."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from tasks.stages.budget import peak_memory_bytes

HELD = 600_000_000


def test_the_peak_is_this_processs_own() -> None:
    """A process that is started by a large one has not been large itself."""
    before = peak_memory_bytes()
    held = np.ones(HELD, np.uint8)
    assert peak_memory_bytes() >= HELD + before // 2
    code = "from tasks.stages.budget import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 10_000_000 < int(done.stdout) < HELD
    assert held[-1] == 1
