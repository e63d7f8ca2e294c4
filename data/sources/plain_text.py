"""Plain text: an item a line, or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.sources.limits import MAX_TEXT_CHARS
from data.sources.making import RecordMaker, SourceFile, checked_text
from data.sources.records import BadRecord, Record, bad_record
from data.sources.text_lines import numbered_lines, refuse_marked
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_text_lines(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield each line without its ending; blank lines separate texts and are none themselves.

    Raises:
        OSError, EOFError, zlib.error: the file cannot be read, or its compression is damaged.
    """
    maker = RecordMaker(source, "line")
    with source.open_text() as stream:
        for number, line in numbered_lines(stream):
            text = line.rstrip("\r\n")
            if text and not text.isspace():
                yield maker.text(number, text, str(number), {})


def read_text_file(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield the whole file as one text, line endings included; metadata is the `folder` it is in.

    Raises:
        OSError, EOFError, zlib.error: as `read_text_lines`.
    """
    with source.open_text() as stream:
        text = stream.read(MAX_TEXT_CHARS + 1)
    try:
        refuse_marked(text, source.settings.encoding)
        yield Record(source.file, None, None, checked_text(text), source.folder)
    except BadInputError as error:
        yield bad_record(source.file, None, "parse", error)
