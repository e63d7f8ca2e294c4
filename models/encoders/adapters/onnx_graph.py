"""What an ONNX file refers to, read off its protocol buffer without building anything from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEEPEST: Final = 32
"""Graphs within graphs; real ones have two or three."""

# Numbers of fields in onnx.proto3 (IR version 12); each leads to tensors, or to what holds them.
_MODEL: Final = {7: "graph", 25: "function"}
_WITHIN: Final[dict[str, dict[int, str]]] = {
    "model": _MODEL,
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _KEY, _VALUE = 13, 1, 2


def external_files(path: Path) -> list[Path]:
    """List the files beside an ONNX file that hold its weights.

    Raises:
        ConfigError: it is no protocol buffer, or names a file outside of its own folder.
    """
    try:
        names = set(_locations(memoryview(path.read_bytes()), "model", 0))
    except (ValueError, IndexError, RecursionError) as error:
        raise ConfigError(f"{path}: no ONNX file: {error}.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    files = []
    for name in sorted(names):
        found = path.parent / name
        if found.resolve().parent != path.parent.resolve() or not found.is_file():
            raise ConfigError(f"{path}: its weights are to be in '{name}', which is not beside it.")
        files.append(found)
    return files


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("graphs are nested too deep")
    if kind == "tensor":
        for number, part in _parts(message):
            if number == _EXTERNAL_DATA:
                entry = dict(_parts(part))
                if bytes(entry.get(_KEY, b"")) == b"location":
                    yield bytes(entry.get(_VALUE, b"")).decode("utf-8")
        return
    for number, part in _parts(message):
        within = _WITHIN[kind].get(number)
        if within is not None:
            yield from _locations(part, within, depth + 1)


def _parts(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields that have a length; the others are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise ValueError("it ends within a field")
                yield tag >> 3, message[at : at + length]
                at += length
            case other:
                raise ValueError(f"a field of unknown kind {other}")
    if at > len(message):
        raise ValueError("it ends within a field")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004  the last byte of a number has its highest bit clear
            return value, at
    raise ValueError("a number of more than ten bytes")
