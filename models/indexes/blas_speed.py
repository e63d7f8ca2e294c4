"""How fast FAISS multiplies matrices with the kernels that the environment makes OpenBLAS take.

Kernels are chosen once a process, so each choice is measured in one of its own:
`python -m models.indexes.blas_speed` prints the figure. Exact search, index training and the
building of graphs are made of these products.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

import numpy as np

from models.indexes.faiss_library import BLAS_VARIABLE

ROWS: Final = 20_000
QUERIES: Final = 1_000
DIM: Final = 384
ROUNDS: Final = 3


def gigaflops(core: str | None) -> float:
    """Measure exact search on one thread in a process of its own, about a second.

    Args:
        core: kernels to force (`OPENBLAS_CORETYPE`); None leaves them to OpenBLAS's detection.

    Returns:
        10^9 floating point operations a second, the best of three rounds.
    """
    environment = {name: value for name, value in os.environ.items() if name != BLAS_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "models.indexes.blas_speed"],
        env=environment | ({BLAS_VARIABLE: core} if core else {}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    """Measure in this process; not by way of `library()`, which would choose the kernels."""
    import faiss

    faiss.omp_set_num_threads(1)
    draw = np.random.default_rng(0)
    index = faiss.IndexFlatIP(DIM)
    index.add(draw.random((ROWS, DIM), np.float32))
    queries = draw.random((QUERIES, DIM), np.float32)
    index.search(queries[:10], 1)
    seconds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        index.search(queries, 1)
        seconds.append(time.thread_time() - began)
    print(2e-9 * ROWS * QUERIES * DIM / min(seconds))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
