"""File names as text, faithfully, and back again.

A name on disk is bytes; a URI in a table is text. Nearly all names are UTF-8 and stay as they are,
line breaks and control characters included. A byte that is not valid UTF-8 becomes ``%XX``, and a
``%`` that happens to stand before two hexadecimal digits becomes ``%25``, so that the way back is
unambiguous: ``100%.jpg`` stays ``100%.jpg``, ``a%20b.jpg`` becomes ``a%2520b.jpg``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from latentlake.errors import BadInputError

_LOOKS_ESCAPED = re.compile(r"%(?=[0-9A-Fa-f]{2})")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of such bytes
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def file_name(path: str) -> str:
    """Return a path of the operating system, relative to a source's base, as faithful text."""
    if path.isascii() and "%" not in path:
        return path
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    text = _LOOKS_ESCAPED.sub("%25", text)
    return _NOT_UTF8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", text)


def path_of(base: str | Path, file: str) -> Path:
    """Return the path on disk of a `file` that `file_name` wrote.

    Args:
        base: the folder that the source's files are relative to.
        file: a '/' separated path as in `FileEntry.file`.

    Raises:
        BadInputError: the name is empty, absolute or climbs out of the base.
    """
    raw = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), file.encode("utf-8", "replace"))
    parts = raw.split(b"/")
    if b"\0" in raw or any(part in (b"", b".", b"..") for part in parts):
        raise BadInputError(f"the name {file!r} does not point inside its source")
    return Path(base) / os.fsdecode(raw)
