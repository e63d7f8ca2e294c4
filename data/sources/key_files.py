"""Files that name the rows of a .npy beside them, and the entry of the two as one file."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from data.sources.formats import plain_suffix
from data.sources.records import FileEntry
from latentlake.source_settings import STEM

if TYPE_CHECKING:
    import os

    from latentlake.source_settings import SourceSettings

KEYS: Final = "(keys)"
"""How files that name the rows of others are counted."""

_RACY_NS: Final = 2_000_000_000


def keys_file_of(settings: SourceSettings, name: str) -> str | None:
    """Return the name of the file beside a .npy that names its rows, None where none is set."""
    if settings.kind != "vectors" or settings.keys is None or plain_suffix(name) != ".npy":
        return None
    return settings.keys.replace(STEM, PurePath(name).stem)


def is_keys_file(settings: SourceSettings, name: str) -> bool:
    """Tell whether a file names the rows of others, and so is no matrix itself."""
    if settings.kind != "vectors" or settings.keys is None:
        return False
    literal = settings.keys.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
    return fnmatchcase(PurePath(name).name, literal.replace(STEM, "*"))


def with_keys(entry: FileEntry, keys: os.stat_result) -> FileEntry:
    """Return a .npy file's entry as one of both files, so that it is read when either changes.

    What would be the etag on S3 is made of both files' sizes and times. Files that were written
    just now get none: a later write could hide behind the same time stamp.
    """
    newest = max(entry.modified_at, keys.st_mtime_ns)
    stamps = (entry.size_bytes, entry.modified_at, keys.st_size, keys.st_mtime_ns)
    is_racy = newest > time.time_ns() - _RACY_NS
    etag = None if is_racy else "-".join(map(str, stamps))
    return FileEntry(entry.file, entry.size_bytes + keys.st_size, newest, etag)
