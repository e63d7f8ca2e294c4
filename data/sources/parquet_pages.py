"""What the pages of a Parquet file claim to unpack to, checked before Arrow believes them.

Arrow takes the memory that a page's header asks for and misses the bytes afterwards: up to 2 GiB a
page. So the headers of a row group are read first, by way of the footer, and held against the
bytes that are there. Column statistics are passed over: Arrow's own way to the footer's figures
ends the process where those are damaged.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from data.sources.compression import open_regular
from data.sources.limits import MAX_DICTIONARY_BYTES, MAX_LIST_VALUES, MAX_PAGE_BYTES
from data.sources.thrift import I32, I64, ThriftEndError, ThriftReader, Wanted
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import RawIOBase
    from pathlib import Path

    from data.sources.remote import RemoteFile

_TAIL: Final = struct.Struct("<I4s")
_SIZE: Final = struct.Struct("<I")
_ROW_GROUPS: Final = 4
_CHUNKS: Final = 1
_ROW_GROUP: Final[Wanted] = {_CHUNKS: [{3: {1: I32, 4: I32, 5: I64, 7: I64, 9: I64, 11: I64}}]}
_PAGE: Final[Wanted] = {
    1: I32,
    2: I32,
    3: I32,
    5: {1: I32, 2: I32},
    7: {1: I32},
    8: {1: I32, 4: I32},
}
_INNER: Final = {0: (5, 2), 2: (7, 0), 3: (8, 4)}
"""By a page's kind, the field of its own header and in that the one of the encoding."""
_DICTIONARY: Final = 2
_MOST_I32: Final = 2**31 - 1
_PREFIXES_SHARED: Final = 7
"""The encoding DELTA_BYTE_ARRAY: a value repeats the beginning of the one before."""
_BYTES: Final = 6
_LEAST_VALUE: Final = {1: 4, 2: 8, 3: 12, 4: 4, 5: 8, _BYTES: 4}
"""Bytes of a value in a dictionary, by its physical type."""
_FIRST_READ, _MOST_READ = 1 << 10, 1 << 24
_CODECS: Final = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_RATIOS: Final = {0: 1, 1: 32, 2: 1040, 5: 256, 6: 1 << 15, 7: 256}
"""What a byte may unpack to at the most, by codec; Brotli (4) knows no bound worth the name."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One column of one row group."""

    column: int
    kind: int
    codec: int
    values: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Page:
    """A page's header; `start` is where its bytes begin."""

    kind: int
    unpacked: int
    packed: int
    values: int
    encoding: int
    start: int


class PageChecker:
    """Reads the page headers of a file's row groups, in their order."""

    def __init__(self, path: Path | RemoteFile, *, repeated: frozenset[int]) -> None:
        """Open a file of its own, unbuffered: headers are small and far apart.

        Args:
            path: the file.
            repeated: numbers of the leaf columns that have lists in them.
        """
        self._file: RawIOBase = open_regular(path).detach()
        self._repeated = repeated
        self._size = self._file.seek(0, os.SEEK_END)
        self._groups: Iterator[dict[int, Any]] | None = None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def largest_value(self, columns: list[int]) -> int:
        """Check some columns of the next row group.

        Args:
            columns: numbers of leaf columns.

        Returns:
            What one value may take in memory although it takes next to nothing in its page, because
            a dictionary or the value before it has it: bytes, added up over the columns.

        Raises:
            BadInputError: a page claims more than it can hold, or more than the limits.
            OSError: the file cannot be read.
        """
        if self._groups is None:
            self._groups = self._row_groups()
        group = next(self._groups, {})
        found = group.get(_CHUNKS, [])
        if len(found) <= max(columns, default=-1):
            raise BadInputError("the footer does not describe all columns")
        return sum(self._checked(_chunk(found[at].get(3, {}), at)) for at in columns)

    def _row_groups(self) -> Iterator[dict[int, Any]]:
        length, _ = _TAIL.unpack(self._read(self._size - _TAIL.size, _TAIL.size))
        footer = ThriftReader(self._read(self._size - _TAIL.size - length, length))
        if footer.seek_list(_ROW_GROUPS):
            yield from footer.structs(_ROW_GROUP)

    def _checked(self, chunk: _Chunk) -> int:
        largest = 0
        for page in self._pages(chunk):
            self._require_sound(chunk, page)
            if chunk.kind != _BYTES:
                continue
            if page.kind == _DICTIONARY:
                largest = max(largest, self._largest_in_dictionary(chunk, page))
            elif page.encoding == _PREFIXES_SHARED:
                largest = max(largest, page.unpacked)
        return largest

    def _pages(self, chunk: _Chunk) -> Iterator[_Page]:
        at, seen = chunk.start, 0
        while seen < chunk.values and at < min(chunk.end, self._size):
            page = self._page(at)
            yield page
            seen += 0 if page.kind == _DICTIONARY else page.values
            at = page.start + page.packed

    def _page(self, at: int) -> _Page:
        found, end = self._header(at, _FIRST_READ)
        kind, unpacked, packed = (found.get(one, -1) for one in (1, 2, 3))
        own, encoding = _INNER.get(kind, (0, 0))
        inner = found.get(own, {})
        values = inner.get(1, -1 if own else 0)
        return _Page(kind, unpacked, packed, values, inner.get(encoding, 0), at + end)

    def _header(self, at: int, count: int) -> tuple[dict[int, Any], int]:
        """Read a page's header, from more bytes if it goes on behind the first ones."""
        reader = ThriftReader(self._read(at, count))
        try:
            return reader.struct(_PAGE), reader.at
        except ThriftEndError:
            if count >= min(_MOST_READ, self._size - at):
                raise
        return self._header(at, 8 * count)

    def _require_sound(self, chunk: _Chunk, page: _Page) -> None:
        most = MAX_DICTIONARY_BYTES if page.kind == _DICTIONARY else MAX_PAGE_BYTES
        least = _LEAST_VALUE.get(chunk.kind, 1)
        many = page.values * least > page.unpacked
        figures = (page.packed, page.unpacked, page.values)
        if min(figures) < 0 or max(figures) > _MOST_I32:
            raise BadInputError("a page's header is damaged")
        if page.packed > self._size - page.start:
            raise BadInputError("a page is cut short")
        if page.unpacked > _RATIOS.get(chunk.codec, most) * page.packed:
            raise BadInputError(f"a page of {page.packed} bytes claims to hold {page.unpacked}")
        if page.unpacked > max(most, 2 * page.packed):
            raise BadInputError(f"a page unpacks to {page.unpacked} bytes, {most} is the limit")
        if page.kind == _DICTIONARY and many:
            raise BadInputError(
                f"a dictionary of {page.unpacked} bytes claims {page.values} values"
            )
        if chunk.column in self._repeated and page.values > MAX_LIST_VALUES:
            raise BadInputError(f"a page of lists claims {page.values} values")

    def _largest_in_dictionary(self, chunk: _Chunk, page: _Page) -> int:
        """Return the longest value's bytes, or those of all where they cannot be unpacked here."""
        content = self._read(page.start, page.packed)
        if chunk.codec:
            if chunk.codec not in _CODECS:
                return page.unpacked
            codec = pa.Codec(_CODECS[chunk.codec])
            content = codec.decompress(content, page.unpacked, asbytes=True)
        at = largest = 0
        for _ in range(page.values):
            if at + _SIZE.size > len(content):
                break
            size = _SIZE.unpack_from(content, at)[0]
            at += _SIZE.size + size
            largest = max(largest, size)
        return min(largest, page.unpacked)

    def _read(self, at: int, count: int) -> bytes:
        if at < 0 or count < 0:
            raise BadInputError("a place in the file is none")
        self._file.seek(at)
        parts, left = [], min(count, max(0, self._size - at))
        while left and (part := self._file.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def _chunk(found: dict[int, int], column: int) -> _Chunk:
    """Find a chunk's bytes as Arrow does: a dictionary that has no place stands nowhere."""
    start, dictionary = found.get(9, -1), found.get(11, 0)
    if 0 < dictionary < start:
        start = dictionary
    end = start + found.get(7, -1)
    if start < 0 or end < start:
        raise BadInputError("a column's place in the file is none")
    return _Chunk(column, found.get(1, -1), found.get(4, -1), found.get(5, 0), start, end)
