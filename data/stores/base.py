"""What the lake asks of the place its files are in: the one door for reading and writing them.

A file is known by its name: a '/'-separated path under the store's root. Nothing above this door
does arithmetic on paths of its own, so a folder and a bucket behave alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pyarrow.fs import FileSystem


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
    def filesystem(self) -> FileSystem | None:
        """What Arrow reads addresses with, the scheme left off; None for paths of this machine."""
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

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole; a reader sees the old bytes or the new ones."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a new file whole; return False, and change nothing, if the name is taken.

        Of any number of racing writers exactly one gets True.
        """
        ...

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files under a folder, in the order of their names, as they are found."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the last names of the files directly in a folder, sorted."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Return the last names of the folders directly in a folder, sorted."""
        ...

    def delete_folder(self, folder: str) -> None:
        """Delete everything under a folder; nothing there is fine."""
        ...

    def reading(self, name: str) -> AbstractContextManager[Path]:
        """Yield a file on this machine with a stored file's bytes, for libraries that need one.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a file to be written; at the block's end it gets the name, whole."""
        ...

    def local_folder(self, folder: str) -> Path:
        """Return a folder on this machine with all files under a stored folder."""
        ...

    def publish(self, local: Path, folder: str) -> None:
        """Store a finished folder of this machine under a name that tells its content.

        Where the name is there already nothing is written: it stands for the same bytes.
        """
        ...

    def scratch(self, folder: str) -> AbstractContextManager[Path]:
        """Yield an empty folder on this machine to prepare what `publish` takes."""
        ...
