"""Thrift's compact protocol, as far as Parquet's footers and page headers need it.

Only what is asked for is kept: a footer may describe millions of column chunks. See
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Wanted = dict[int, Any]
"""Fields by number: I32 or I64 stands for an integer, a mapping for a struct, `[mapping]` for a
list of structs. A field of another kind is passed over, as Arrow does."""

_BINARY, _LIST, _SET, _MAP, _STRUCT = 8, 9, 10, 11, 12
_BOOLEANS: Final = (1, 2)
I16, I32, I64 = 4, 5, 6
_INTEGERS: Final = (I16, I32, I64)
_WIDTHS: Final = {3: 1, 7: 8, 13: 16}
"""Of bytes, doubles and UUIDs; all other kinds say themselves how long they are."""
_MOST_DEPTH: Final = 32
_MOST_VARINT: Final = 10
_MASK: Final = (1 << 64) - 1


class ThriftError(ValueError):
    """Bytes that are no struct in Thrift's compact protocol."""


class ThriftEndError(ThriftError):
    """The struct goes on behind the bytes at hand."""


class ThriftReader:
    """Reads structs from bytes, front to back.

    Attributes:
        at: the position of the next byte.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, wanted: Wanted) -> dict[int, Any]:
        """Read a struct; return the wanted fields that it has, of a repeated one the last.

        Raises:
            ThriftError: this is none, or it goes on behind the bytes.
        """
        found: dict[int, Any] = {}
        for number, kind in self._fields():
            one = wanted.get(number)
            if one == kind and kind in _INTEGERS:
                found[number] = self._zigzag()
            elif isinstance(one, dict) and kind == _STRUCT:
                found[number] = self.struct(one)
            elif isinstance(one, list) and kind == _LIST:
                found[number] = list(self.structs(one[0]))
            else:
                self._skip(kind, 0)
        return found

    def seek_list(self, number: int) -> bool:
        """Read a struct, then go to the last of its lists of this number; tell if there is one.

        Raises:
            ThriftError: as `struct`.
        """
        place = None
        for found, kind in self._fields():
            if (found, kind) == (number, _LIST):
                place = self.at
            self._skip(kind, 0)
        self.at = self.at if place is None else place
        return place is not None

    def structs(self, wanted: Wanted) -> Iterator[dict[int, Any]]:
        """Read a list of structs, one after the other.

        Raises:
            ThriftError: it holds something else, or as `struct`.
        """
        kind, size = self._list_head()
        if size and kind != _STRUCT:
            raise ThriftError("a list holds no structs")
        for _ in range(size):
            yield self.struct(wanted)

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and kind of each field; its value is read in between."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            yield number, head & 15

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _MOST_DEPTH:
            raise ThriftError("nested too deeply")
        if kind in _INTEGERS:
            self._varint()
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind in (_LIST, _SET, _MAP):
            self._skip_all(*self._kinds_within(kind), depth)
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        elif kind not in _BOOLEANS:
            self._pass(_width(kind))

    def _kinds_within(self, kind: int) -> tuple[tuple[int, ...], int]:
        """Read the head of a list, set or map: the kinds of an element, and how many there are."""
        if kind != _MAP:
            inner, size = self._list_head()
            return (inner,), size
        size = self._varint()
        kinds = self._byte() if size else 0
        return (kinds >> 4, kinds & 15), size

    def _skip_all(self, kinds: tuple[int, ...], size: int, depth: int) -> None:
        """Skip elements; inside lists and maps a boolean takes a byte."""
        for _ in range(size):
            for kind in kinds:
                if kind in _BOOLEANS:
                    self._pass(1)
                else:
                    self._skip(kind, depth + 1)

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        size = head >> 4
        return head & 15, self._varint() if size == 15 else size  # noqa: PLR2004

    def _pass(self, count: int) -> None:
        if count > len(self._data) - self.at:
            raise ThriftEndError("it is cut short")
        self.at += count

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ThriftEndError("it is cut short")
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for place in range(_MOST_VARINT):
            byte = self._byte()
            value |= (byte & 127) << (7 * place)
            if byte < 128:  # noqa: PLR2004
                return value & _MASK
        raise ThriftError("a number has too many digits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _width(kind: int) -> int:
    try:
        return _WIDTHS[kind]
    except KeyError:
        raise ThriftError(f"no value is of kind {kind}") from None
