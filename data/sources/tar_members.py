"""Members of a tar archive as a stream: headers read in bounded memory, names taken as names only.

Python's `tarfile` keeps every header, reads extended headers of any length at once and needs a
seekable file or private buffering; this reader goes forward only. The blocks themselves are parsed
by `tarfile.TarInfo`. Formats: ustar, GNU and pax (POSIX.1-2001), without sparse files.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.sources.limits import MAX_SIDECAR_BYTES
from data.sources.names import file_name

if TYPE_CHECKING:
    from data.sources.compression import ByteStream

_BLOCK = tarfile.BLOCKSIZE
_SKIP_BYTES = 2**20
_LONG_NAME, _LONG_LINK, _GLOBAL = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"g"
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member's header.

    Attributes:
        name: its path in the archive, as text; never used as a path on disk.
        size_bytes: the size of its content.
        is_file: whether it has a content of its own; folders, links and devices have none.
    """

    name: str
    size_bytes: int
    is_file: bool


class TarStream:
    """Reads an archive forward, member by member."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0

    def next_member(self) -> TarMember | None:
        """Skip to the next member; None at the archive's end mark.

        Raises:
            tarfile.TarError: damage, or a file that ends without the mark.
            OSError, EOFError, zlib.error: the stream underneath.
        """
        long_name: bytes | None = None
        pax: dict[bytes, bytes] = {}
        while (header := self._header()) is not None:
            if header.type == _LONG_NAME:
                long_name = self._extension(header).rstrip(b"\0")
            elif header.type in _PAX:
                pax |= _pax_fields(self._extension(header))
            elif header.type in (_GLOBAL, _LONG_LINK):
                self._skip(header.size + -header.size % _BLOCK)
            else:
                return self._member(header, long_name, pax)
        return None

    def read(self) -> bytes:
        """Return the content of the member; the caller has looked at its size.

        Raises:
            tarfile.TarError: the archive ends inside.
        """
        content = self._exactly(self._left)
        self._left = 0
        return content

    def _member(
        self, header: tarfile.TarInfo, long_name: bytes | None, pax: dict[bytes, bytes]
    ) -> TarMember:
        if header.type == tarfile.GNUTYPE_SPARSE or any(
            key.startswith(b"GNU.sparse") for key in pax
        ):
            raise tarfile.ReadError(f"'{file_name(header.name)}' is a sparse file")
        raw = pax.get(b"path", long_name)
        name = header.name if raw is None else raw.decode("utf-8", "surrogateescape")
        is_file = header.isreg() and not name.endswith("/")
        if is_file:
            self._left = _size(pax.get(b"size"), header.size)
            self._padding = -self._left % _BLOCK
        return TarMember(file_name(name.removeprefix("./")), self._left, is_file)

    def _header(self) -> tarfile.TarInfo | None:
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        block = self._stream.read(_BLOCK)
        if len(block) < _BLOCK:
            raise tarfile.ReadError("the archive is cut short: it has no end mark")
        if not block.strip(b"\0"):
            return None
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        _size(None, header.size)
        return header

    def _extension(self, header: tarfile.TarInfo) -> bytes:
        if header.size > MAX_SIDECAR_BYTES:
            raise tarfile.ReadError(f"an extended header of {header.size} bytes")
        content = self._exactly(header.size)
        self._skip(-header.size % _BLOCK)
        return content

    def _exactly(self, count: int) -> bytes:
        content = self._stream.read(count)
        if len(content) < count:
            raise tarfile.ReadError("the archive is cut short: it ends inside a member")
        return content

    def _skip(self, count: int) -> None:
        while count > 0:
            step = min(count, _SKIP_BYTES)
            self._exactly(step)
            count -= step


def _size(told: bytes | None, size: int) -> int:
    if told is not None:
        if not told.isdigit() or len(told) > len(str(2**63)):
            raise tarfile.ReadError("a member's size is no number")
        size = int(told)
    if size < 0:
        raise tarfile.ReadError("a member's size is negative")
    return size


def _pax_fields(content: bytes) -> dict[bytes, bytes]:
    """Parse the records of an extended header: "<length> <key>=<value>" and a line feed each."""
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(content) and content[at]:
        length, space, _ = content[at : at + 20].partition(b" ")
        end = at + int(length) if space and length.isdigit() else 0
        if not at < end <= len(content):
            raise tarfile.ReadError("a damaged extended header")
        key, _, value = content[at + len(length) + 1 : end - 1].partition(b"=")
        fields[key] = value
        at = end
    return fields
