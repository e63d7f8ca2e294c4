"""One writer a lake on S3: a lease object that its owner renews, and that expires without it.

S3 has no lock that its owner's death gives back. So `writer.lock` is an object that says who it is.
It is taken by a PUT on the condition that there is none (If-None-Match) or that it is still the one
that was read (If-Match), and renewed the same way by a thread. It is free when its owner gave it
back, when its owner was a process of this machine that is dead, or when it was not renewed for as
long as it says, by the clock of S3 itself.

Whoever takes it gets the next epoch. A writer that lost its lease without knowing (it was
suspended, or cut off) is harmless, because each of its commits

* comes after a look at the lease (`require`) that comes after the table was opened, and is a commit
  of exactly the version after the one it opened; the new writer commits an empty version to every
  table first (`data.fencing`), so the late commit finds its version taken and does not happen;
* is announced by an undo note that carries the writer's epoch, and only notes of the last epoch
  that has mended the lake count.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from data.locking import LOCK_NAME, Owner
from data.processes import ProcessId, is_dead, this_process
from latentlake.commit_points import reach
from latentlake.errors import LakeBusyError, LakeError, WriterLostError
from latentlake.progress import report_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.stores.s3 import S3Store

logger = logging.getLogger(__name__)

LEASE_S: Final = 60.0
"""How long a lease stands without being renewed."""
RENEWALS: Final = 6
"""How often it is renewed in that time."""
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0

_held: dict[str, Lease] = {}
"""Leases of this process, by the store's URI."""


@dataclass(frozen=True, slots=True)
class LeaseNote:
    """What the object says.

    Attributes:
        epoch: counts the owners.
        mended: the last epoch whose owner has undone what the one before left unfinished.
        lease_s: how long it stands without being renewed.
        owner: who writes; None if nobody does.
        process: the owner as a process; None if nobody writes.
        token: other at each writing, so that no two notes are equal.
    """

    epoch: int
    mended: int
    lease_s: float
    owner: Owner | None
    process: ProcessId | None
    token: str = ""

    def encode(self) -> bytes:
        """Return the object's content, with a token of its own."""
        return json.dumps(asdict(self) | {"token": secrets.token_hex(8)}, indent=1).encode()


def decode(content: bytes) -> LeaseNote:
    """Read an object's content.

    Raises:
        ValueError, TypeError, KeyError: it is none of ours.
    """
    parts: dict[str, Any] = json.loads(content)
    owner, process = parts.pop("owner"), parts.pop("process")
    return LeaseNote(
        **parts,
        owner=Owner(**owner) if owner else None,
        process=ProcessId(**process) if process else None,
    )


class Lease:
    """A lease that this process holds, and the thread that renews it."""

    def __init__(self, store: S3Store, note: LeaseNote, etag: str) -> None:
        self._store, self._note, self._etag = store, note, etag
        self._turn = threading.Lock()
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        """The epoch whose undo note counts."""
        return self._note.mended

    def confirm(self) -> None:
        """Say that what the last writer left has been undone: from now on this epoch's note counts.

        Raises:
            WriterLostError: another writer has taken over.
        """
        self._rewrite(mended=self._note.epoch)

    def require(self) -> None:
        """Ask S3 whether this is still the lease.

        Raises:
            WriterLostError: another writer has taken over.
        """
        try:
            found = decode(self._store.read(LOCK_NAME))
        except FileNotFoundError:
            raise self._lost() from None
        if found.epoch != self._note.epoch or found.owner is None:
            raise self._lost()

    def release(self) -> None:
        """Give it back; of one that was lost nothing is changed."""
        self._is_done.set()
        self._thread.join()
        try:
            self._rewrite(owner=None, process=None)
        except LakeError as error:
            logger.warning("%s", error)

    def _rewrite(self, **changes: Any) -> None:
        with self._turn:
            note = replace(self._note, **changes)
            etag = self._store.replace(LOCK_NAME, note.encode(), self._etag)
            if etag is None:
                raise self._lost()
            self._note, self._etag = note, etag

    def _renew(self) -> None:
        while not self._is_done.wait(self._note.lease_s / RENEWALS):
            try:
                self._rewrite()
            except WriterLostError as error:
                logger.warning("%s", error)
                return
            except LakeError as error:  # the next time, perhaps
                logger.warning("the lease could not be renewed: %s", error)

    def _lost(self) -> WriterLostError:
        return WriterLostError(self._store.uri, self._note.lease_s)


def held_lease(uri: str) -> Lease | None:
    """Return the lease that this process holds on a store, if it does."""
    return _held.get(uri)


@contextmanager
def leased(store: S3Store, command: str, *, wait: bool) -> Iterator[bool]:
    """Be the only writer of a store inside the block.

    Yields:
        Whether the last owner did not give the lease back.

    Raises:
        LakeBusyError: another writer is at work, and `wait` is false.
        LakeError: `writer.lock` is no lease.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = Owner(command, os.getpid(), socket.gethostname(), since)
    lease, was_broken = _acquire(store, owner, wait=wait)
    _held[store.uri] = lease
    try:
        reach("lock taken")
        yield was_broken
    finally:
        lease.release()
        _held.pop(store.uri, None)


def _acquire(store: S3Store, owner: Owner, *, wait: bool) -> tuple[Lease, bool]:
    began, pause_s = time.monotonic(), _FIRST_PAUSE_S
    mine = LeaseNote(1, 0, LEASE_S, owner, this_process())
    while True:
        tagged = store.read_tagged(LOCK_NAME)
        if tagged is None:
            found, note, etag = None, mine, None
        else:
            content, etag, age_s = tagged
            found = _decoded(store, content)
            note = replace(mine, epoch=found.epoch + 1, mended=found.mended)
            if not _is_free(found, age_s):
                _wait_or_refuse(store, found.owner, began, wait=wait)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
        taken = store.replace(LOCK_NAME, note.encode(), etag)
        if taken is not None:
            return Lease(store, note, taken), found is not None and found.owner is not None


def _is_free(found: LeaseNote, age_s: float) -> bool:
    if found.owner is None or age_s > found.lease_s:
        return True
    return found.process is not None and is_dead(found.process)


def _wait_or_refuse(store: S3Store, owner: Owner | None, began: float, *, wait: bool) -> None:
    who = str(owner or "another process")
    if not wait:
        raise LakeBusyError(store.uri, who)
    report_progress(f"wait for {who}", int(time.monotonic() - began), None, "s")


def _decoded(store: S3Store, content: bytes) -> LeaseNote:
    try:
        return decode(content)
    except (ValueError, TypeError, KeyError) as error:
        place = store.address(LOCK_NAME)
        raise LakeError(f"{place}: no lease of ours ({error}); remove it by hand.") from None
