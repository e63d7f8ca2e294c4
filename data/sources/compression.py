"""Byte streams of regular files, unpacked on the way, in bounded memory."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from data.sources.formats import Compression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

    from data.sources.remote import RemoteFile

# A zstd block of 4 bytes can hold 128 KiB, so a piece of 2 KiB unpacks to 64 MiB at the very worst.
_ZSTD_PIECE_BYTES = 2048
_BUFFER_BYTES = 128 * 1024

ByteStream = io.BufferedReader | gzip.GzipFile


def open_regular(path: Path | RemoteFile) -> io.BufferedReader:
    """Open a regular file or an object for reading; symbolic links are followed.

    Raises:
        OSError: it is missing, unreadable, or a pipe, socket or device, which could block for ever.
    """
    if not isinstance(path, Path):
        return path.open()
    # Without O_NONBLOCK the opening of a pipe itself waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


@contextmanager
def open_stream(path: Path | RemoteFile, compression: Compression) -> Iterator[ByteStream]:
    """Open a file and unpack it while it is read.

    Reading yields everything before a damage, then raises OSError, EOFError or `zlib.error` (gzip).

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path) as handle:
        match compression:
            case Compression.NONE:
                yield handle
            case Compression.GZIP:
                # A BufferedReader around it would lose what comes right before a damage.
                with gzip.GzipFile(fileobj=handle, mode="rb") as unpacked:
                    yield unpacked
            case Compression.ZSTD:
                yield io.BufferedReader(ZstdReader(handle), _BUFFER_BYTES)


class ZstdReader(io.RawIOBase):
    """Unpacks zstd frames one after the other.

    The library's own reader takes a file that ends inside a frame for a whole one, and loses what
    it had unpacked when it meets damage; this one does neither.
    """

    def __init__(self, packed: io.BufferedReader) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._inside = False
        self._damage: OSError | None = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Say that this is for reading."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer as far as one step goes; 0 means the end.

        Raises:
            EOFError: the file ends inside a frame.
            OSError: the bytes are not zstd, or damaged.
        """
        while not self._ready:
            if self._damage is not None:
                raise self._damage
            piece = self._packed.read(_ZSTD_PIECE_BYTES)
            if not piece:
                if self._inside:
                    raise EOFError("the zstd stream is cut short")
                return 0
            self._ready = memoryview(self._unpack(piece))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _unpack(self, piece: bytes) -> bytes:
        unpacked = b""
        while piece:
            try:
                unpacked += self._frame.decompress(piece)
            except zstandard.ZstdError as error:
                self._damage = OSError(errno.EIO, f"damaged zstd stream: {error}")
                break
            self._inside = not self._frame.eof
            piece = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        return unpacked
