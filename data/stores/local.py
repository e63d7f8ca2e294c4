"""A store in a folder of this machine."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.storage import create_exclusively, replacing
from data.stores.base import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator


class LocalStore:
    """Files under a folder: temporary file, fsync, rename; hard links where a name must be new.

    Attributes:
        root: the folder, as it was configured.
    """

    filesystem = None
    delta_options = None

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    @property
    def uri(self) -> str:
        """The folder as an absolute path."""
        return str(self.root.absolute())

    def address(self, name: str = "") -> str:
        """Return the path of a name."""
        return str(self.root / name)

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None where there is no such file."""
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole, synced to the disk."""
        with replacing(self.root / name) as temporary:
            temporary.write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a new file whole; return False, and change nothing, if the name is taken."""
        return create_exclusively(self.root / name, content)

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files under a folder, in the order of their names."""
        base = self.root / folder
        found = (Path(at, name) for at, _, names in os.walk(base) for name in names)
        for path in sorted(found, key=lambda path: path.relative_to(self.root).as_posix()):
            try:
                seen = path.stat()
            except FileNotFoundError:  # another writer's temporary file
                continue
            name = path.relative_to(self.root).as_posix()
            yield StoredFile(name, seen.st_size, seen.st_mtime_ns)

    def names(self, folder: str) -> list[str]:
        """Return the last names of the files directly in a folder, sorted."""
        base = self.root / folder
        if not base.is_dir():
            return []
        with os.scandir(base) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())

    def folders(self, folder: str) -> list[str]:
        """Return the last names of the folders directly in a folder, sorted."""
        base = self.root / folder
        return (
            sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
        )

    def delete_folder(self, folder: str) -> None:
        """Delete a folder; what cannot be deleted stays."""
        shutil.rmtree(self.root / folder, ignore_errors=True)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Yield the file itself."""
        yield self.root / name

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary file beside the name; see `data.storage.replacing`."""
        with replacing(self.root / name) as temporary:
            yield temporary

    def local_folder(self, folder: str) -> Path:
        """Return the folder itself."""
        return self.root / folder

    def publish(self, local: Path, folder: str) -> None:
        """Rename a finished folder; it must be on the same disk, as a `scratch` folder is."""
        final = self.root / folder
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            local.replace(final)

    @contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:
        """Yield the folder, emptied; it is removed at the end unless it was published."""
        work = self.root / folder
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
