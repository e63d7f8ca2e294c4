"""Delta tables through the lake's door: open, list files, and commit until it has been done."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from data.stores import is_remote
from latentlake.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from data.stores import Store

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_TRIES = 20
"""Of eight writers that commit to one table at once, the last was seen to need ten."""
_LONGEST_PAUSE_S = 3.0
_ON_THE_WAY = ("object store", "S3 error", "HTTP error", "Invalid table version")
"""The last one is what delta-rs says where the answer to its making of a table was lost."""


def open_delta(store: Store, folder: str, version: int | None = None) -> DeltaTable | None:
    """Open a Delta table, or return None where a folder has none.

    Raises:
        StoreUnavailableError: S3 did not answer.
    """
    place = store.address(folder)
    options = store.delta_options
    if options is None:
        if version is None and not DeltaTable.is_deltatable(place):
            return None
        return DeltaTable(place, version=version)

    def opened() -> DeltaTable | None:
        try:
            return DeltaTable(place, version=version, storage_options=store.delta_options)
        except TableNotFoundError:
            return None

    return retrying_commit(opened, place)


def file_paths(table: DeltaTable) -> list[str]:
    """Return the addresses of a Delta table's files, sorted; delta-rs gives them URL-encoded."""
    return sorted(unquote(uri) for uri in table.file_uris())


def retrying_commit(commit: Callable[[], Result], place: str = "") -> Result:
    """Call again when another writer's commit came first (Delta's optimistic concurrency).

    On S3 also when the way there failed in the middle: delta-rs repeats single requests, but not
    one whose body was cut short. What is called is safe to repeat.

    Args:
        commit: opens the table anew and commits to it.
        place: the table's address.

    Raises:
        CommitFailedError: others came first each time.
        StoreUnavailableError: S3 gave no usable answer.
    """
    for attempt in range(_TRIES):
        try:
            return commit()
        except CommitFailedError:
            if attempt == _TRIES - 1:
                raise
            logger.info("commit conflict, trying again", extra={"attempt": attempt})
        except (OSError, DeltaError) as error:
            if not (is_remote(place) and any(word in str(error) for word in _ON_THE_WAY)):
                raise
            if attempt == _TRIES - 1:
                raise StoreUnavailableError(place, type(error).__name__, _TRIES) from None
            logger.info("%s: no usable answer, trying again", place)
        pause_s = min(_LONGEST_PAUSE_S, 0.05 * 2**attempt)
        time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  jitter
    raise AssertionError  # the loop returns or raises
