"""File names for items: those of their sources, spelt so that none can leave its folder."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

_LONGEST: Final = 200
"""Bytes of a name; file systems take 255, and a suffix may come."""
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')
_IMAGES: Final = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


class KeptNames:
    """Gives each item a path of its own, in whatever case a disk tells names apart."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def path_of(self, parts: tuple[str, ...], suffix: str, item_id: str) -> str:
        """Return an item's path, '/' separated: the same whenever items come in the same order.

        Args:
            parts: what it is called, folders first; anything at all.
            suffix: what the name has to end with; "" leaves it as it is.
            item_id: makes a name its own where another item has it already.
        """
        *folders, last = map(safe_name, parts)
        if not last.lower().endswith(suffix):
            last += suffix
        path = "/".join([*folders, last])
        if self._owners.setdefault(path.casefold(), item_id) != item_id:
            stem, dot, end = last.rpartition(".")
            own = f"{stem}-{item_id}{dot}{end}" if dot else f"{last}-{item_id}"
            path = "/".join([*folders, own])
            self._owners[path.casefold()] = item_id
        return path


def safe_name(name: str) -> str:
    """Return a name as one that any file system takes, and that means no other place.

    A name that has to be changed gets a digest of what it was, so that different ones stay so.
    """
    clean = _UNSAFE.sub("_", name)
    clean = "_" + clean[1:] if clean.startswith(".") else clean.rstrip(" ")
    raw = clean.encode()
    if clean == name and 0 < len(raw) <= _LONGEST:
        return name
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    stem, dot, suffix = clean.rpartition(".")
    if not dot or len(suffix) > 8:  # noqa: PLR2004 - no suffix is longer than .geojson
        stem, dot, suffix = clean, "", ""
    short = stem.encode()[: _LONGEST - 24].decode("utf-8", "ignore")
    return f"{short}-{digest}{dot}{suffix}"


def image_suffix(raw: bytes) -> str:
    """Return what the name of an encoded picture ends with, by its first bytes; "" if unknown."""
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for head, suffix in _IMAGES if raw.startswith(head)), "")
