"""What a source yields: files, records, and inputs that could not be used.

Numbers of lines, rows and elements are 1-based wherever a person sees them (keys, URIs, messages);
`Record.position` is the same place counted from 0. An item's key is

* the value of the configured `key` column, or else
* the line on which it starts (plain text, JSON lines, CSV: the header is line 1), the row of a
  table or matrix, the element of a JSON array, the stem of a tar member.

Where a `key` is configured, an input without a usable key of its own is called "line 7" or "row 7",
which keeps it apart from an item whose key is "7". A key that occurs again in its file is refused,
as two items cannot share an identity; the first keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.sources.names import file_name, path_of

__all__ = [
    "BadRecord",
    "FileEntry",
    "Record",
    "Stage",
    "VectorBytes",
    "bad_record",
    "file_name",
    "path_of",
]

Stage = Literal["list", "read", "parse", "identify", "decode"]
"""Where an input failed: finding it, reading its bytes, taking it apart, naming it, decoding it."""

MAX_MESSAGE_CHARS = 500


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a source, as listed.

    Attributes:
        file: its path relative to the source's base, '/' separated; see `names` for odd bytes.
        size_bytes: its size.
        modified_at: nanoseconds since the epoch.
        etag: on S3, what changes whenever the bytes do.
    """

    file: str
    size_bytes: int
    modified_at: int
    etag: str | None = None


class VectorBytes(bytes):
    """A vector as the bytes of its float32 numbers, little-endian; no other payload is one."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One item with its content.

    Attributes:
        file: the file it is in.
        key: its name in the file; None where the file is the item.
        position: where in the file it is, from 0, growing; None where the file is the item.
        payload: bytes of an encoded image, a vector's, or a text that is not blank.
        metadata: its other columns or keys, JSON-able.
    """

    file: str
    key: str | None
    position: int | None
    payload: bytes | str
    metadata: dict[str, object]

    @property
    def uri(self) -> str:
        """The item's address in its source: `<file>` or `<file>#<key>`."""
        return self.file if self.key is None else f"{self.file}#{self.key}"


@dataclass(frozen=True, slots=True)
class BadRecord:
    """An input that could not be used.

    Attributes:
        file: the file it is in, or the folder that could not be listed.
        key: its name in the file; None where the whole file, or the rest of it, is meant.
        stage: where it failed.
        error: the name of the exception's class.
        message: one line, at most `MAX_MESSAGE_CHARS` long.
        size_bytes: how large the input is, where known.
    """

    file: str
    key: str | None
    stage: Stage
    error: str
    message: str
    size_bytes: int | None

    @property
    def uri(self) -> str:
        """The input's address in its source: `<file>` or `<file>#<key>`."""
        return self.file if self.key is None else f"{self.file}#{self.key}"


def bad_record(
    file: str,
    key: str | None,
    stage: Stage,
    error: BaseException,
    size_bytes: int | None = None,
) -> BadRecord:
    """Describe an exception as a `BadRecord`; the cause, where there is one, gives the name."""
    named = error.__cause__ or error
    return BadRecord(file, key, stage, type(named).__name__, _one_line(error), size_bytes)


def _one_line(error: BaseException) -> str:
    # strerror says the same as str(error) without the absolute path of this machine.
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    clean = text[: 4 * MAX_MESSAGE_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")
    line = " ".join("".join(c if c.isprintable() else " " for c in clean).split())
    return line[:MAX_MESSAGE_CHARS] or type(error).__name__
