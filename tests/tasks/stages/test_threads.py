"""The thread budget, as each library says it itself, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import json, sys, threading

from tasks.frame import open_lake

open_lake(sys.argv[1])
open_lake(sys.argv[1])

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_info

from models.indexes.faiss_library import library

found = {}

def look():
    faiss = library()
    flat = faiss.IndexFlatIP(64)
    flat.add(np.ones((5000, 64), np.float32))
    flat.search(np.ones((100, 64), np.float32), 3)
    blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    found.update(blas=blas, faiss=faiss.omp_get_max_threads(), arrow=pa.cpu_count())

thread = threading.Thread(target=look)  # as Prefect and Dask run tasks: not in the main thread
thread.start()
thread.join()
print(json.dumps(found))
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_one_number_holds_for_all_libraries(threads: int, tmp_path: Path) -> None:
    config = tmp_path / "latentlake.toml"
    config.write_text(f"[run]\nthreads = {threads}\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(config)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert len(found["blas"]) == 2, "numpy's and FAISS's"
    assert {*found["blas"], found["faiss"], found["arrow"]} == {threads}
