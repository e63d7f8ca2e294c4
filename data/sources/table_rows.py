"""Rows of Arrow batches as items: which columns serve as what, and what each row is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data.sources.arrow_values import (
    fixed_width,
    is_image,
    is_key,
    is_metadata,
    is_text,
    python_values,
)
from data.sources.columns import choose_column
from data.sources.limits import BATCH_BYTES, MAX_BATCH_ROWS
from data.sources.making import RecordMaker, SourceFile
from data.sources.vector_values import is_vector, may_be_vector, vector_payloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from data.sources.records import BadRecord, Record

_VECTOR_ROWS = 512
"""Repeated numbers take next to nothing in Parquet, so a file's size tells little of theirs."""


class TableRows:
    """Makes records of one table's rows.

    Attributes:
        columns: the names of the columns that are read.
        most_rows: how many rows a batch should have at most.
    """

    def __init__(self, source: SourceFile, schema: pa.Schema) -> None:
        """Choose the columns.

        Raises:
            BadInputError: a configured column is missing, or none is obvious.
        """
        self._maker = RecordMaker(source, "row")
        settings, names = source.settings, list(schema.names)
        self._kind, self._key = settings.kind, settings.key
        self.most_rows = _VECTOR_ROWS if settings.kind == "vectors" else MAX_BATCH_ROWS
        self._payload = _payload_column(source, schema)
        if self._key is not None:
            choose_column("key", self._key, names, [f.name for f in schema if is_key(f.type)])
        self._metadata = [
            field.name
            for field in schema
            if field.name != self._payload
            and is_metadata(field.type)
            and fixed_width(field.type) <= BATCH_BYTES
            and names.count(field.name) == 1
        ]
        key = [self._key] if self._key is not None else []
        self.columns = list(dict.fromkeys([self._payload, *key, *self._metadata]))

    def records(self, batch: pa.RecordBatch, first: int) -> Iterator[Record | BadRecord]:
        """Yield the batch's rows.

        Args:
            batch: with all of `columns`.
            first: the number of its first row in the file, from 1.
        """
        make: Any = {
            "images": self._maker.image,
            "text": self._maker.text,
            "vectors": self._maker.vector,
        }[self._kind]
        payloads = self._payloads(batch.column(self._payload))
        keys: Sequence[Any] = [None] * batch.num_rows
        if self._key is not None:
            keys = python_values(batch.column(self._key))
        columns = [python_values(batch.column(name)) for name in self._metadata]
        rows = zip(*columns, strict=True) if columns else iter([()] * batch.num_rows)
        for number, (payload, key, row) in enumerate(zip(payloads, keys, rows, strict=True), first):
            yield make(number, payload, key, dict(zip(self._metadata, row, strict=True)))

    def _payloads(self, column: pa.Array) -> Sequence[Any]:
        if self._kind == "vectors":
            return vector_payloads(column)
        return python_values(column, payload=True)


def _payload_column(source: SourceFile, schema: pa.Schema) -> str:
    settings, names = source.settings, list(schema.names)
    match settings.kind:
        case "images":
            fitting = [field.name for field in schema if is_image(field.type)]
            return choose_column("image", settings.image, names, fitting)
        case "vectors":
            serves = may_be_vector if settings.vector else is_vector
            fitting = [field.name for field in schema if serves(field.type)]
            return choose_column("vector", settings.vector, names, fitting)
        case "text":
            texts = [field.name for field in schema if is_text(field.type)]
            obvious = texts if settings.text else [name for name in texts if name != settings.key]
            return choose_column("text", settings.text, names, obvious)
