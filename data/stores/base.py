"""What the lake asks of the place its files are in: the one door for reading and writing them.

A file is known by its name: a '/'-separated path under the store's root. Nothing above this door
does arithmetic on paths of its own, so a folder and a bucket behave alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a store.

    Attributes:
        name: its path under the root, '/' separated.
        size_bytes: its size.
        modified_ns: nanoseconds since the epoch.
        etag: what changes whenever the bytes do; None where the store has no such thing.
    """

    name: str
    size_bytes: int
    modified_ns: int
    etag: str | None = None


class Store(Protocol):
    """Files under one root. Reads see whole files only; writes are whole or not at all."""

    @property
    def uri(self) -> str:
        """The root as people and SQL read it: an absolute folder or `s3://bucket/prefix`."""
        ...

    @property
    def delta_options(self) -> dict[str, str] | None:
        """Delta's storage options, made anew each time: they may carry credentials."""
        ...

    def address(self, name: str = "") -> str:
        """Return where a name is, for Delta and SQL: a path on this machine or an `s3://` URL."""
        ...

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None where there is no such file."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def write(self, name: str, content: bytes, what: str = "file") -> None:
        """Write a file whole; a reader sees the old bytes or the new ones.

        Its commit points are `<what> written` and `<what> named`, here and in the next ones.
        """
        ...

    def create(self, name: str, content: bytes, what: str = "file") -> bool:
        """Write a new file whole; return False, and change nothing, if the name is taken.

        Of any number of racing writers exactly one gets True.
        """
        ...

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files under a folder, in the order of their names; no symbolic links."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the last names of the files directly in a folder, sorted."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Return the last names of the folders directly in a folder, sorted."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete files for good, with folders that become empty; files gone already are fine."""
        ...

    def delete_folder(self, folder: str) -> None:
        """Delete everything under a folder; nothing there is fine."""
        ...

    def put_aside(self, name: str) -> None:
        """Give a file that must not be read again a temporary name, which `vacuum` knows."""
        ...

    def reading(self, name: str) -> AbstractContextManager[Path]:
        """Yield a file on this machine with a stored file's bytes, for libraries that need one.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def writing(self, name: str, what: str = "file") -> AbstractContextManager[Path]:
        """Yield a file to be written; at the block's end it gets the name, whole."""
        ...

    def local_folder(self, folder: str) -> Path:
        """Return a folder on this machine with all files under a stored folder."""
        ...

    def publish(self, local: Path, folder: str, what: str = "folder") -> None:
        """Store a finished folder of this machine under a name that tells its content.

        Where the name is there already nothing is written: it stands for the same bytes.
        """
        ...

    def scratch(self, folder: str) -> AbstractContextManager[Path]:
        """Yield an empty folder on this machine to prepare what `publish` takes."""
        ...

    def sole_writer(self, command: str, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Be the only writer of the store inside the block.

        Args:
            command: what is going to be done, for those who wait.
            wait: wait for another writer rather than refuse.

        Yields:
            Whether the last writer may still have requests under way: the caller then fences the
            tables (`data.fencing`) before it does anything else.

        Raises:
            LakeBusyError: another writer is at work, and `wait` is false.
            LakeNotWritableError: the lake is read-only.
        """
        ...

    def require_writer(self) -> None:
        """Make sure that the lock this process took is still its own; without one, do nothing.

        Raises:
            WriterLostError: another writer has taken over.
        """
        ...

    @property
    def epoch(self) -> int:
        """Number of the writer whose undo note counts; always 0 where locks cannot expire."""
        ...

    def confirm_writer(self) -> None:
        """Make this process the one whose undo note counts: the last writer's is done with."""
        ...

    def remove_leftovers(self) -> int:
        """Remove what dead writers left half done; only the sole writer may.

        Returns:
            How many files and folders that were.
        """
        ...
