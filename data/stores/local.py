"""A store in a folder of this machine."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.disk import writing_to
from data.leftovers import remove_leftovers
from data.locking import sole_writer
from data.storage import create_exclusively, name_folder, replacing, sync
from data.stores.base import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class LocalStore:
    """Files under a folder: temporary file, fsync, rename; hard links where a name must be new.

    Attributes:
        root: the folder, as it was configured.
        epoch: always 0: a lock that the kernel holds cannot expire.
    """

    delta_options = None
    epoch = 0

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

    def write(self, name: str, content: bytes, what: str = "file") -> None:
        """Write a file whole, synced to the disk."""
        with self.writing(name, what) as temporary:
            temporary.write_bytes(content)

    def create(self, name: str, content: bytes, what: str = "file") -> bool:
        """Write a new file whole; return False, and change nothing, if the name is taken."""
        return create_exclusively(self.root / name, content, what)

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files under a folder, in the order of their names; links are not followed."""
        base = self.root / folder
        if base.is_symlink() and folder:
            return
        found = (Path(at, name) for at, _, names in os.walk(base) for name in names)
        for path in sorted(found, key=lambda path: path.relative_to(self.root).as_posix()):
            try:
                seen = path.lstat()
            except FileNotFoundError:  # another writer's temporary file
                continue
            if stat.S_ISREG(seen.st_mode):
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
        if not base.is_dir():
            return []
        with os.scandir(base) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def delete(self, names: Sequence[str]) -> None:
        """Delete files, then the folders below the root's own that became empty."""
        parents = dict.fromkeys((self.root / name).parent for name in names)
        with writing_to(self.root):
            for name in names:
                (self.root / name).unlink(missing_ok=True)
            for parent in parents:
                kept = self._remove_empty(parent)
                if kept.is_dir():
                    sync(kept)

    def delete_folder(self, folder: str) -> None:
        """Delete a folder; what cannot be deleted stays."""
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def put_aside(self, name: str) -> None:
        """Rename a file; nothing there is fine."""
        path = self.root / name
        if path.is_file():
            path.replace(path.with_name(f"_tmp-damaged-{path.name}"))

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Yield the file itself."""
        path = self.root / name
        if not path.is_file():
            raise FileNotFoundError(path)
        yield path

    @contextmanager
    def writing(self, name: str, what: str = "file") -> Iterator[Path]:
        """Yield a temporary file beside the name; see `data.storage.replacing`."""
        with replacing(self.root / name, what) as temporary:
            yield temporary

    def local_folder(self, folder: str) -> Path:
        """Return the folder itself."""
        return self.root / folder

    def publish(self, local: Path, folder: str, what: str = "folder") -> None:
        """Rename a finished folder; it must be on the same disk, as a `scratch` folder is."""
        final = self.root / folder
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            name_folder(local, final, what)

    @contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:
        """Yield the folder, emptied; it is removed at the end unless it was published."""
        work = self.root / folder
        shutil.rmtree(work, ignore_errors=True)
        with writing_to(work):
            work.mkdir(parents=True)
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def sole_writer(self, command: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the kernel's lock; see `data.locking`. Nobody else has anything under way then."""
        with sole_writer(self.root, command, wait=wait):
            yield False

    def require_writer(self) -> None:
        """Do nothing: a lock that the kernel holds is not lost."""

    def confirm_writer(self) -> None:
        """Do nothing: there is one note, and it counts."""

    def remove_leftovers(self) -> int:
        """Remove temporary files, plans and half models; see `data.leftovers`."""
        return remove_leftovers(self.root)

    def _remove_empty(self, folder: Path) -> Path:
        """Remove a folder and those above it that are empty; return the first one that is not."""
        while self.root not in (folder, folder.parent):
            try:
                folder.rmdir()
            except OSError:
                return folder
            folder = folder.parent
        return folder
