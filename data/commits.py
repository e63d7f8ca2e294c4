"""Delta tables through the lake's door: open them, and commit until it has been done.

One commit is signed with its run, repeated when another came first, and watched by tests.
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from data.disk import writing_to
from data.stores import is_remote
from latentlake.commit_points import reach
from latentlake.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from data.stores import Store

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_TRIES = 20
"""Of eight writers that commit to one table at once, the last was seen to need ten."""
_LONGEST_PAUSE_S = 3.0
_COMMIT = re.compile(r"(\d{20})\.json")
_ON_THE_WAY = ("object store", "S3 error", "HTTP error", "Invalid table version")
"""The last one is what delta-rs says where the answer to its making of a table was lost."""


def signed(run_id: str) -> CommitProperties:
    """Return what makes a commit carry its run, and be one for the version that was opened.

    Delta would put a commit that lost a race behind the winner's. Here the table is opened anew
    instead, so that a writer whose lock has expired cannot commit: see `data.fencing`.
    """
    return CommitProperties(custom_metadata={"run_id": run_id}, max_commit_retries=0)


def open_delta(store: Store, folder: str, version: int | None = None) -> DeltaTable | None:
    """Open a Delta table to read it, or return None where a folder has none.

    Raises:
        StoreUnavailableError: S3 did not answer.
    """
    place = store.address(folder)
    if store.delta_options is None:
        if version is None and not DeltaTable.is_deltatable(place):
            return None
        return DeltaTable(place, version=version)

    def opened() -> DeltaTable | None:
        try:
            return DeltaTable(place, version=version, storage_options=store.delta_options)
        except TableNotFoundError:
            return None

    return retrying_call(opened, place, place)


def open_to_write(store: Store, folder: str) -> DeltaTable | None:
    """Open a Delta table to commit to it, or return None where a folder has none.

    Raises:
        WriterLostError: this process is no longer the store's writer.
    """
    table = open_delta(store, folder)
    store.require_writer()  # after the table was opened: see `data.stores.leases`
    return table


def last_version(store: Store, folder: str) -> int | None:
    """Return the version of a Delta table by the names in its log alone; None if there is none."""
    names = store.names(f"{folder}/_delta_log")
    return max(
        (int(found[1]) for name in names if (found := _COMMIT.fullmatch(name))), default=None
    )


def changed_since(store: Store, folder: str, version: int, last: int) -> bool:
    """Say whether the commits after a version, up to the last, hold anything but themselves."""
    if last < version:
        return True
    for number in range(version + 1, last + 1):
        lines = store.read(f"{folder}/_delta_log/{number:020d}.json").splitlines()
        if any(json.loads(line).keys() - {"commitInfo"} for line in lines):
            return True
    return False


def file_paths(table: DeltaTable) -> list[str]:
    """Return the addresses of a Delta table's files, sorted; delta-rs gives them URL-encoded."""
    return sorted(unquote(uri) for uri in table.file_uris())


def file_names(table: DeltaTable) -> list[str]:
    """Return the names of a Delta table's files in its folder, sorted."""
    base = table.table_uri.removeprefix("file://")
    return sorted(unquote(uri.removeprefix(base)) for uri in table.file_uris())


def retrying_commit(commit: Callable[[], Result], name: str, place: str = "") -> Result:
    """Call again when another writer's commit came first (Delta's optimistic concurrency).

    On S3 also when the way there failed in the middle: delta-rs repeats single requests, but not
    one whose body was cut short. What is called is safe to repeat.

    Args:
        commit: opens the table anew and commits to it.
        name: what is committed to; its commit points are `<name> to commit`, `<name> committed`.
        place: the lake's URI.

    Raises:
        LakeNotWritableError: the disk is full or read-only.
        CommitFailedError: others came first each time.
        StoreUnavailableError: S3 gave no usable answer.
    """
    reach(f"{name} to commit")
    with writing_to(f"the table '{name}'"):
        done = retrying_call(commit, name, place)
    reach(f"{name} committed")
    return done


def retrying_call(call: Callable[[], Result], name: str, place: str) -> Result:
    """Do what `retrying_commit` does, but for its commit points and a disk's refusals."""
    for attempt in range(_TRIES):
        try:
            return call()
        except (OSError, DeltaError) as error:
            lost_race = isinstance(error, CommitFailedError)
            if not lost_race and not (is_remote(place) and _may_pass(error)):
                raise
            if attempt == _TRIES - 1:
                if lost_race:
                    raise
                raise StoreUnavailableError(place, type(error).__name__, _TRIES) from None
            logger.info("%s: trying again after %s", name, type(error).__name__)
        pause_s = min(_LONGEST_PAUSE_S, 0.05 * 2**attempt)
        time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  jitter
    raise AssertionError  # the loop returns or raises


def _may_pass(error: BaseException) -> bool:
    return any(words in str(error) for words in _ON_THE_WAY)
