"""NumPy's .npy files as a stream of rows: no pickle, no trust in what the header claims.

The format is that of numpy.lib.format, versions 1 and 2: a magic string, a header that is a Python
literal, the array's bytes.
"""

from __future__ import annotations

import ast
import os
import re
import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from data.sources.limits import BATCH_BYTES
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    import numpy.typing as npt

_MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER_BYTES: Final = 10_000
"""What NumPy itself parses, too: a longer literal may take Python's parser down."""
_MAX_ITEM_BYTES: Final = 4096
_NUMBERS: Final = re.compile(r"[<>=|]?([iu][1248]|f[248])")
_NAMES: Final = re.compile(r"[<>=|]?([iu][1248]|U\d{1,4}|S\d{1,4})")


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a .npy file says of its array.

    Attributes:
        shape: rows first.
        dtype: plain numbers or strings, never objects.
        by_columns: whether it lies in Fortran order.
        offset: where the array's bytes begin.
        held_rows: how many rows are whole in the file, which may be fewer than its header claims.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool
    offset: int
    held_rows: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape[1:]) * self.dtype.itemsize


def read_header(handle: io.BufferedReader, *, names: bool = False) -> NpyHeader:
    """Read and check a header.

    Args:
        handle: at the beginning of the file.
        names: whether a list of names is expected (strings or integers) rather than numbers.

    Raises:
        BadInputError: no .npy, a header that is too long or says nothing sensible, another type.
    """
    literal = _literal(handle)
    offset = handle.tell()
    shape, kind = literal.get("shape"), literal.get("descr")
    wanted = _NAMES if names else _NUMBERS
    if not isinstance(kind, str) or not wanted.fullmatch(kind):
        asked = "strings or integers" if names else "numbers (float16, float32, float64, integers)"
        raise BadInputError(f"an array of {str(kind)[:60]!r}; {asked} can be read")
    is_shape = isinstance(shape, tuple) and all(type(one) is int and one >= 0 for one in shape)
    if not isinstance(shape, tuple) or not is_shape or not shape:
        raise BadInputError(f"no shape of an array: {str(shape)[:60]}")
    found = NpyHeader(shape, np.dtype(kind), literal.get("fortran_order") is True, offset, 0)
    if found.dtype.itemsize > _MAX_ITEM_BYTES:
        raise BadInputError(f"strings of {found.dtype.itemsize} bytes each")
    return NpyHeader(found.shape, found.dtype, found.by_columns, offset, _held_rows(handle, found))


def read_rows(handle: io.BufferedReader, header: NpyHeader) -> Iterator[npt.NDArray[Any]]:
    """Yield the whole rows that the file holds, in order, at most `BATCH_BYTES` at once.

    Raises:
        OSError: the file cannot be read, or became shorter.
    """
    rows = max(1, BATCH_BYTES // max(1, header.row_bytes))
    for start in range(0, header.held_rows, rows):
        count = min(rows, header.held_rows - start)
        if header.by_columns and len(header.shape) > 1:
            yield _by_columns(handle, header, start, count)
        else:
            place = header.offset + start * header.row_bytes
            block = _read(handle, place, count * header.row_bytes)
            yield np.frombuffer(block, header.dtype).reshape(count, *header.shape[1:])


def _literal(handle: io.BufferedReader) -> dict[str, Any]:
    begin = handle.read(8)
    if begin[:6] != _MAGIC or len(begin) != 8:  # noqa: PLR2004  magic and two bytes of version
        raise BadInputError("no .npy file")
    if begin[6] not in (1, 2):
        raise BadInputError(f"version {begin[6]} of the .npy format: an array of records")
    form = "<H" if begin[6] == 1 else "<I"
    size = handle.read(struct.calcsize(form))
    length = struct.unpack(form, size)[0] if len(size) == struct.calcsize(form) else -1
    if not 0 < length <= _MAX_HEADER_BYTES:
        raise BadInputError(f"a .npy header of {length} bytes; {_MAX_HEADER_BYTES} are allowed")
    try:
        found = ast.literal_eval(handle.read(length).decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise BadInputError("the .npy header cannot be read") from error
    if not isinstance(found, dict) or found.keys() != {"descr", "fortran_order", "shape"}:
        raise BadInputError("the .npy header lacks type, order or shape")
    return found


def _held_rows(handle: io.BufferedReader, header: NpyHeader) -> int:
    held = max(0, handle.seek(0, os.SEEK_END) - header.offset)
    if header.row_bytes == 0:
        return 0
    if header.by_columns and held < header.shape[0] * header.row_bytes:
        return 0  # its last columns are missing, and so the end of every row
    return min(header.shape[0], held // header.row_bytes)


def _by_columns(
    handle: io.BufferedReader, header: NpyHeader, start: int, count: int
) -> npt.NDArray[Any]:
    each = header.dtype.itemsize
    matrix = np.empty((count, *header.shape[1:]), header.dtype)
    for column in range(header.shape[1]):
        place = header.offset + (column * header.shape[0] + start) * each
        matrix[:, column] = np.frombuffer(_read(handle, place, count * each), header.dtype)
    return matrix


def _read(handle: io.BufferedReader, place: int, size: int) -> bytes:
    handle.seek(place)
    block = handle.read(size)
    if len(block) != size:
        raise EOFError("the file became shorter while it was read")
    return block
