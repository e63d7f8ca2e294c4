"""A file that is an image: one item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.sources.compression import open_regular
from data.sources.limits import MAX_IMAGE_BYTES
from data.sources.making import SourceFile, checked_image
from data.sources.records import BadRecord, Record, bad_record
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_plain_image(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield the image; its metadata is the `folder` it is in.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(source.path) as handle:
        image = handle.read(MAX_IMAGE_BYTES + 1)
    try:
        yield Record(source.file, None, None, checked_image(image), source.folder)
    except BadInputError as error:
        yield bad_record(source.file, None, "parse", error, len(image))
