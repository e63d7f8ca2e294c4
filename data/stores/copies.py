"""This machine's copies of objects, named by the objects' etags, in the user's cache folder.

FAISS, safetensors and DuckDB open files, not objects. A copy's name is a digest of endpoint, key
and etag, so it never stands for other bytes; one that nobody has opened for a week is removed.
"""

from __future__ import annotations

import os
import shutil
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from data.storage import replacing
from data.stores.connection import connect
from data.stores.ranges import open_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.stores.base import StoredFile

UNUSED_DAYS = 7


def cache_folder() -> Path:
    """Return the folder of all copies: `latentlake` in $XDG_CACHE_HOME, by default ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "latentlake"


def local_copy(bucket: str, key: str, found: StoredFile) -> Path:
    """Return the path of an object's copy, fetching it first where there is none.

    Raises:
        OSError: the object was replaced while it was fetched.
    """
    folder = _folder(bucket, key, [found])
    path = folder / key.rpartition("/")[2]
    if not path.is_file():
        _fetch(bucket, key, found, path)
    folder.touch()
    return path


def local_folder(bucket: str, base: str, prefix: str, found: Sequence[StoredFile]) -> Path:
    """Return a folder with copies of all objects below `base`, fetching what it lacks.

    Args:
        bucket: the bucket.
        base: the key of the folder, without a slash at its end.
        prefix: what stands before the names of `found` in their keys.
        found: all objects below `base`.
    """
    folder = _folder(bucket, base, found)
    for one in found:
        key = prefix + one.name
        path = folder / key.removeprefix(f"{base}/")
        if not path.is_file():
            _fetch(bucket, key, one, path)
    folder.touch()
    return folder


def _fetch(bucket: str, key: str, found: StoredFile, path: Path) -> None:
    _remove_unused()
    with (
        open_object(bucket, key, found.etag) as stream,
        replacing(path) as temporary,
        temporary.open("wb") as target,
    ):
        shutil.copyfileobj(stream, target, 2**23)


def _folder(bucket: str, key: str, found: Sequence[StoredFile]) -> Path:
    names = repr([connect().endpoint, bucket, key, [(one.name, one.etag) for one in found]])
    digest = blake2b(names.encode(), digest_size=16).hexdigest()
    folder = cache_folder() / digest
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _remove_unused() -> None:
    oldest = time.time() - UNUSED_DAYS * 86400
    for folder in cache_folder().iterdir():
        if folder.is_dir() and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)
