"""Arrow columns as Python values, and which types can serve as what."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import types


def is_binary(kind: pa.DataType) -> bool:
    """Tell whether a column holds bytes."""
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column holds strings, dictionary-encoded ones included."""
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_image(kind: pa.DataType) -> bool:
    """Tell whether a column can hold images: bytes, or Hugging Face's struct of bytes and path."""
    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and is_binary(kind.field(at).type)
    return is_binary(kind)


def is_key(kind: pa.DataType) -> bool:
    """Tell whether a column's values can name items."""
    return bool(is_text(kind) or types.is_integer(kind) or types.is_floating(kind))


def is_metadata(kind: pa.DataType) -> bool:
    """Tell whether a column is worth keeping beside the item: no bytes, images or vectors."""
    if isinstance(kind, pa.BaseExtensionType):
        return is_metadata(kind.storage_type)
    if types.is_fixed_size_list(kind):
        return False
    if types.is_list(kind) or types.is_large_list(kind):
        return not types.is_floating(kind.value_type) and is_metadata(kind.value_type)
    return not is_binary(kind) and not is_image(kind)


def fixed_width(kind: pa.DataType) -> int:
    """Return how many bytes of memory a value takes even where it is null."""
    if isinstance(kind, pa.BaseExtensionType):
        return fixed_width(kind.storage_type)
    if types.is_fixed_size_binary(kind):
        return int(kind.byte_width)
    if types.is_fixed_size_list(kind):
        return int(kind.list_size) * fixed_width(kind.value_type)
    if types.is_struct(kind):
        return sum(fixed_width(kind.field(at).type) for at in range(kind.num_fields))
    return 8


def python_values(column: pa.Array, *, payload: bool = False) -> list[Any]:
    """Return a column as a list of Python values, None for null.

    Times become ISO 8601 text in full precision. A string that is not UTF-8 has its bad bytes
    marked as in `text_lines`.

    Args:
        column: the column of one batch.
        payload: whether a struct stands for the `bytes` in it.
    """
    kind = column.type
    if payload and types.is_struct(kind):
        return list(column.flatten()[kind.get_field_index("bytes")].to_pylist())
    if types.is_temporal(kind) and not types.is_interval(kind):
        return list(column.cast(pa.string()).to_pylist())
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        if not is_text(kind):
            return [None] * len(column)  # deep inside a nested value: not worth a failure
        return [_marked(raw) for raw in _raw_strings(column)]


def _raw_strings(column: pa.Array) -> list[bytes | None]:
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return list(column.cast(pa.large_binary()).to_pylist())


def _marked(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "surrogateescape")
