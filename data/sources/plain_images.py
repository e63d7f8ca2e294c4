"""A file that is an image: one item."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from data.sources.compression import open_regular
from data.sources.limits import MAX_IMAGE_BYTES
from data.sources.making import SourceFile, checked_image
from data.sources.records import BadRecord, Record, bad_record
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

_FIRST_BYTES: Final = 2**20


def read_plain_image(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield the image; its metadata is the `folder` it is in.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(source.path) as handle:
        image = _whole(handle, MAX_IMAGE_BYTES + 1)
    try:
        yield Record(source.file, None, None, checked_image(image), source.folder)
    except BadInputError as error:
        yield bad_record(source.file, None, "parse", error, len(image))


def _whole(handle: io.BufferedReader, most: int) -> bytes:
    """Return a file's bytes, at most so many.

    Asked for `most` bytes at once, Python takes that much address space and gives it back, which
    takes longer than reading a photo, and holds up all threads.
    """
    pieces, size, room = [], 0, _FIRST_BYTES
    with suppress(OSError):  # an object on S3 has no descriptor
        room = os.fstat(handle.fileno()).st_size + 1
    while piece := handle.read(min(room, most - size)):
        pieces.append(piece)
        size += len(piece)
        if len(piece) < room:
            break
        room *= 2
    return b"".join(pieces)
