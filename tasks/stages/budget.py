"""What each part of a stage may hold in memory, from the one number in `[limits]`.

The parts of a stage that are in use at the same time add up to less than the whole; what is left is
for the allocators and for copies in passing. docs/reference/memory.md lists all of it.
"""

from __future__ import annotations

import resource
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.workspace import Workspace, workspace
from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake
    from latentlake.settings import Settings

_MOST_SPOOLED = 32 * 2**20
_LEAST_DATABASE = 80_000_000
_MOST_PAIRS = 100_000_000
_PAIR_BYTES = 100
"""Of a pair, while pairs are sorted, numbered and covered."""
_MOST_COMPARED = 256 * 2**20
_ROUND = 50_000_000
_THREAD_DATABASE = 64_000_000
"""Each thread of DuckDB needs some of its memory before it can spill at all."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Shares of the memory limit, in bytes.

    Attributes:
        limit: the whole.
    """

    limit: int

    @property
    def database(self) -> int:
        """What DuckDB may hold of joins and sorts before it spills to disk."""
        return max(_LEAST_DATABASE, self.limit // 8)

    def database_threads(self, threads: int) -> int:
        """Return how many of these threads DuckDB may use."""
        return max(1, min(threads, self.database // _THREAD_DATABASE))

    @property
    def spool(self) -> int:
        """Strings of rows that wait to be written to the workspace."""
        return min(_MOST_SPOOLED, self.limit // 32)

    @property
    def payloads(self) -> int:
        """Contents that wait for their encoder."""
        return self.limit // 8

    @property
    def index(self) -> int:
        """What a search index may take in memory."""
        return self.limit // 2

    @property
    def pairs(self) -> int:
        """How many near-duplicate pairs may be held."""
        return min(_MOST_PAIRS, self.limit // 4 // _PAIR_BYTES)

    @property
    def compared(self) -> int:
        """Vectors of pairs that are compared at once; less means more passes over all vectors."""
        return min(_MOST_COMPARED, self.limit // 16)

    def require(self, what: str, needed: int) -> None:
        """Refuse a stage that would need more than the limit.

        Args:
            what: the stage and its space.
            needed: bytes.

        Raises:
            ConfigError: `limits.memory` is too small; the message says what would do.
        """
        if needed > self.limit:
            enough = -(-needed // _ROUND) * _ROUND // 10**6
            raise ConfigError(
                f"{what} needs about {needed // 10**6} MB, more than limits.memory "
                f'({self.limit // 10**6} MB): set it to "{enough}MB" or more.'
            )

    def require_shard(self, rows: int, dim: int) -> None:
        """Refuse shards whose vectors, held twice, take more than half of the limit.

        Raises:
            ConfigError: `run.shard_rows` is too large for `limits.memory`.
        """
        needed = 2 * 4 * rows * dim
        if needed > self.limit // 2:
            raise ConfigError(
                f"a shard of {rows} x {dim} takes {needed // 10**6} MB while it is encoded, more "
                f"than half of limits.memory ({self.limit // 10**6} MB): raise limits.memory or "
                "lower run.shard_rows."
            )


def budget_of(settings: Settings) -> Budget:
    """Return the shares of the configured limit."""
    return Budget(settings.limits.memory_bytes)


@contextmanager
def working_on(lake: Lake, settings: Settings, stage: str) -> Iterator[Workspace]:
    """Open a stage's workspace.

    Args:
        lake: whose tables it can read.
        settings: limits and threads.
        stage: names the folder, e.g. "ingest-photos".

    Raises:
        LakeNotWritableError: the disk is full or read-only.
    """
    budget = budget_of(settings)
    threads = budget.database_threads(settings.run.thread_count)
    with workspace(lake, stage, budget.database, threads) as work:
        yield work


def peak_memory_bytes() -> int:
    """Return the most memory that this process has had resident.

    Linux keeps it in the process's status. `getrusage` would do elsewhere, and is wrong there: a
    process inherits the peak of the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
