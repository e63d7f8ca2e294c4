"""One Delta commit: signed with its run, repeated when another came first, watched by tests."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, TypeVar

from deltalake import CommitProperties
from deltalake.exceptions import CommitFailedError

from data.disk import writing_to
from latentlake.commit_points import reach

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_COMMIT_TRIES = 8


def signed(run_id: str) -> CommitProperties:
    """Return what makes a commit carry its run."""
    return CommitProperties(custom_metadata={"run_id": run_id})


def retrying_commit(commit: Callable[[], Result], name: str) -> Result:
    """Call again when another writer's commit came first (Delta's optimistic concurrency).

    Args:
        commit: opens the table and commits to it.
        name: what is committed to; its commit points are `<name> to commit`, `<name> committed`.

    Raises:
        LakeNotWritableError: the disk is full or read-only.
    """
    reach(f"{name} to commit")
    for attempt in range(_COMMIT_TRIES):
        try:
            with writing_to(f"the table '{name}'"):
                done = commit()
        except CommitFailedError:
            if attempt == _COMMIT_TRIES - 1:
                raise
            pause_s = 0.05 * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311  jitter
            logger.info("commit conflict, trying again", extra={"attempt": attempt})
            time.sleep(pause_s)
        else:
            reach(f"{name} committed")
            return done
    raise AssertionError  # the loop returns or raises
