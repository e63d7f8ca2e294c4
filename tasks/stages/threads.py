"""One owner of the thread budget: `run.threads` holds for every library, not for each of them.

Decoders, OpenVINO, torch and DuckDB are given their number where they are made. The rest would take
all cores by itself, however few the settings allow, and fight with the others for them.
"""

from __future__ import annotations

import pyarrow as pa
from threadpoolctl import threadpool_limits

from models.indexes.faiss_library import use_threads

_owned: list[int] = []
"""The number that holds in this process."""


def own_threads(threads: int) -> None:
    """Give FAISS, the BLAS behind numpy and Arrow this many threads from now on.

    Costs nothing when the number is what it was.

    Raises:
        ConfigError: fewer than one.
    """
    if _owned == [threads]:
        return
    use_threads(threads)
    threadpool_limits(threads, user_api="blas")
    pa.set_cpu_count(threads)
    _owned[:] = [threads]
