"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.disk import writing_to
from latentlake.commit_points import reach

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: Path, what: str = "file") -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the name.

    A reader sees the old file or the new one, never half of one. The temporary file begins with an
    underscore, which Delta and DuckDB globs pass over, and is removed if the block raises.

    Args:
        path: the file to be.
        what: names its commit points, `<what> written` and `<what> named`.

    Raises:
        LakeNotWritableError: the disk is full or read-only.
    """
    temporary = _temporary(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync(temporary)
            reach(f"{what} written")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
    reach(f"{what} named")


def create_exclusively(path: Path, content: bytes, what: str = "file") -> bool:
    """Write a new file whole; return False, and change nothing, if the name is taken.

    A hard link is the put-if-absent of a local disk: it fails where the name exists, and the name
    never stands for half a file. Arguments and errors are those of `replacing`.
    """
    temporary = _temporary(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            sync(temporary)
            reach(f"{what} written")
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
    reach(f"{what} named")
    return True


def name_folder(work: Path, final: Path, what: str) -> None:
    """Give a finished folder its name, in one step; nothing may stand there yet."""
    with writing_to(final):
        for path in work.rglob("*"):
            sync(path)
        sync(work)
        reach(f"{what} written")
        work.replace(final)
        sync(final.parent)
    reach(f"{what} named")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder among the system's temporary ones, removed at the end."""
    work = Path(tempfile.mkdtemp(prefix="latentlake-"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a name of our own beside `path`: writers may race, in one process or in several."""
    return path.with_name(f"_tmp-{secrets.token_hex(6)}-{path.name}")


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, last beyond a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
