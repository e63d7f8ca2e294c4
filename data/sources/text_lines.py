"""Lines of text out of bytes, so that one bad byte costs one line.

A line that cannot be used is not raised but marked inside the text with a lone surrogate, which no
valid text contains: byte 0xE9 that does not decode becomes U+DCE9 (as in PEP 383, but for every
codec), an endless line becomes `TOO_LONG`. `problem_in` finds the marks.
"""

from __future__ import annotations

import codecs
import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from data.sources.compression import open_stream
from data.sources.limits import MAX_TEXT_CHARS
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data.sources.formats import Compression
    from data.sources.remote import RemoteFile

TOO_LONG = "\udfff\n"
"""Stands for a line of more than `MAX_TEXT_CHARS` characters."""

_BYTE_MARK = 0xDC00
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARK = "latentlake.mark"
_SKIP_CHARS = 2**20

_BOMS = (  # the order matters: UTF-32 begins like UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# Which of the first four bytes are zero where two characters of ASCII come first (RFC 4627, 3).
_ZEROS: dict[tuple[bool, ...], str] = {
    (True, True, True, False): "utf-32-be",
    (False, True, True, True): "utf-32-le",
    (True, False, True, False): "utf-16-be",
    (False, True, False, True): "utf-16-le",
}


def _mark_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return chr(_BYTE_MARK + error.object[error.start]), error.end


codecs.register_error(_MARK, _mark_byte)


def is_encoding(name: str) -> bool:
    """Tell whether Python decodes text by this name."""
    try:
        with io.TextIOWrapper(io.BytesIO(), encoding=name):
            return True
    except (LookupError, ValueError):
        return False


@contextmanager
def open_text(
    path: Path | RemoteFile, compression: Compression, encoding: str
) -> Iterator[io.TextIOWrapper]:
    """Open a file as text.

    Where "utf-8" is asked for, UTF-16 and UTF-32 are seen by a byte order mark, which is not part
    of the text, or by the zeros in what begins with ASCII.

    Raises:
        OSError, EOFError, zlib.error: as `open_stream`, also while it is read.
    """
    with open_stream(path, compression) as stream:
        if codecs.lookup(encoding).name == "utf-8":
            encoding = _begun_as(stream.peek(4)[:4]) or encoding
        text = io.TextIOWrapper(stream, encoding=encoding, errors=_MARK, newline="")
        try:
            yield text
        finally:
            text.detach()


def _begun_as(start: bytes) -> str | None:
    marked = next((name for bom, name in _BOMS if start.startswith(bom)), None)
    return marked or _ZEROS.get(tuple(byte == 0 for byte in start))


def numbered_lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    r"""Yield (line number from 1, line with its ending); ``\n``, ``\r\n`` and ``\r`` end a line."""
    number = 0
    while line := text.readline(MAX_TEXT_CHARS):
        number += 1
        if len(line) >= MAX_TEXT_CHARS and line[-1] not in "\r\n":
            _skip_line(text)
            line = TOO_LONG
        yield number, line


def _skip_line(text: io.TextIOWrapper) -> None:
    while (rest := text.readline(_SKIP_CHARS)) and rest[-1] not in "\r\n":
        pass


def refuse_marked(text: str, encoding: str) -> None:
    """Raise what is wrong with a text that carries a mark.

    Raises:
        BadInputError: an undecodable byte, an endless line, a lone surrogate.
    """
    if text.isascii() or (found := _SURROGATE.search(text)) is None:
        return
    mark, before = ord(found[0]), text[: found.start()]
    if found[0] == TOO_LONG[0]:
        raise BadInputError(f"the line is longer than {MAX_TEXT_CHARS} characters")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    where = f"column {column}" if line == 1 else f"line {line}, column {column}"
    if mark - _BYTE_MARK in range(256):
        raise BadInputError(
            f"byte 0x{mark - _BYTE_MARK:02X} at {where} is not valid {encoding}; "
            "set the source's encoding to the file's"
        )
    raise BadInputError(f"half a character (surrogate U+{mark:04X}) at {where}")


def without_marks(text: str) -> str:
    """Replace lone surrogates, so that the text can be stored; for what is not the content."""
    return text if text.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
