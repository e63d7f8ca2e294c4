"""Arrow batches as JSON, CSV and Parquet, without surprises: .9 stays .9, NaN becomes null."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from latentlake.cli.terminal import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def write_json(
    reader: pa.RecordBatchReader, json_columns: Iterable[str], stream: IO[bytes]
) -> None:
    """Write an array of objects, one a line."""
    separator = b"[\n"
    for row in plain_rows(reader, json_columns):
        stream.write(separator + json_text(row).encode())
        separator = b",\n"
    stream.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def write_csv(reader: pa.RecordBatchReader, stream: IO[bytes]) -> None:
    """Write a header and comma-separated rows; lists and structures become JSON, null is empty."""
    schema = pa.schema([(field.name, _csv_type(field.type)) for field in reader.schema])
    with pyarrow.csv.CSVWriter(stream, schema) as writer:
        for batch in reader:
            columns = [_csv_column(column) for column in batch.columns]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def write_parquet(reader: pa.RecordBatchReader, stream: IO[bytes]) -> None:
    """Write one Parquet file, types as they are."""
    with pq.ParquetWriter(stream, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


def plain_rows(
    reader: pa.RecordBatchReader, json_columns: Iterable[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield rows of JSON values: str, int, float, bool, None, lists and mappings of these."""
    nested = set(json_columns)
    names = reader.schema.names
    for batch in reader:
        columns = [
            [_parsed(value) for value in column.to_pylist()] if name in nested else _values(column)
            for name, column in zip(names, batch.columns, strict=True)
        ]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def shortest_floats(column: pa.Array) -> pa.Array:
    """Widen float32, also in lists, to the float64 that prints alike: .9, not .8999999761581421."""
    texts = _retyped(column.type, pa.string())
    if texts == column.type:
        return column
    return column.cast(texts).cast(_retyped(column.type, pa.float64()))


def _retyped(kind: pa.DataType, instead: pa.DataType) -> pa.DataType:
    """Put another type in the place of float32, as far as lists go."""
    if pa.types.is_float32(kind):
        return instead
    if pa.types.is_fixed_size_list(kind):
        inner = _retyped(kind.value_type, instead)
        return kind if inner == kind.value_type else pa.list_(inner, kind.list_size)
    if pa.types.is_list(kind):
        inner = _retyped(kind.value_type, instead)
        return kind if inner == kind.value_type else pa.list_(inner)
    return kind


def _values(column: pa.Array) -> list[Any]:
    return [_plain(value) for value in shortest_floats(column).to_pylist()]


def _parsed(text: str | None) -> Any:
    return None if text is None else _plain(json.loads(text))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> str | int | float | None:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case _:
            return value.hex() if isinstance(value, bytes) else str(value)


def _csv_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_interval(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return kind


def _csv_column(column: pa.Array) -> pa.Array:
    wanted = _csv_type(column.type)
    if wanted == column.type:
        return column
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    texts = (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in _values(column)
    )
    return pa.array(texts, pa.string())
