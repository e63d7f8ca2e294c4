"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the name.

    A reader sees the old file or the new one, never half of one. The temporary file begins with an
    underscore, which Delta and DuckDB globs pass over, and is removed if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def create_exclusively(path: Path, content: bytes) -> bool:
    """Write a new file whole; return False, and change nothing, if the name is taken.

    A hard link is the put-if-absent of a local disk: it fails where the name exists, and the name
    never stands for half a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)
    return True


def _temporary(path: Path) -> Path:
    """Return a name of our own beside `path`: writers may race, in one process or in several."""
    return path.with_name(f"_tmp-{secrets.token_hex(6)}-{path.name}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
