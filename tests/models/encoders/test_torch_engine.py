"""The torch engine when memory runs out: for real, under a limit on the process's address space."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, re, resource, sys
from pathlib import Path

import numpy as np
import torch

from latentlake.errors import ConfigError
from models.encoders.engines.base import Network
from models.encoders.engines.torch_engine import TorchEngine

ROW_BYTES, FREE_BYTES = int(sys.argv[1]), 700_000_000

class Wide(torch.nn.Module):
    '''Needs ROW_BYTES a row, and gives twice its input.'''

    def __init__(self):
        super().__init__()
        self.passes = []

    def forward(self, rows):
        self.passes.append(len(rows))
        wide = torch.ones(len(rows), ROW_BYTES // 4)
        return rows + rows * wide[:, :1]

wide = Wide()
rows = np.arange(22, dtype=np.float32).reshape(11, 2)
network = Network(build=lambda: wide, example=(rows[:2],), identity="wide")
engine = TorchEngine(network, torch.device("cpu"), "float32", 1)
held = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (held + FREE_BYTES,) * 2)
try:
    found = [engine.compute([(rows[:8],), (rows[8:],)]) for _ in range(2)]
except ConfigError as error:
    print(json.dumps({"error": str(error)}))
else:
    equal = [np.array_equal(np.vstack(parts), 2 * rows) for parts in found]
    shapes = [list(part.shape) for part in found[0]]
    print(json.dumps({"equal": equal, "shapes": shapes, "passes": wide.passes}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit on address space")
class TestOutOfMemory:
    def run(self, row_bytes: int) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(row_bytes)],
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def test_halves_the_rows_of_a_pass_and_keeps_the_smaller_number(self) -> None:
        found = self.run(200_000_000)
        assert found["equal"] == [True, True]
        assert found["shapes"] == [[8, 2], [3, 2]]
        # 8 and 4 rows do not fit, 2 do; the second call begins with 2.
        whole = [2, 2, 2, 2, 2, 1]
        assert found["passes"] == [8, 4, *whole, *whole]

    def test_says_so_when_a_single_item_does_not_fit(self) -> None:
        assert "a single item does not fit" in str(self.run(900_000_000)["error"])
