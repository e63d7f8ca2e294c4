"""Parquet tables of images, texts or vectors, streamed in batches of bounded size."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.types import is_dictionary

from data.sources.arrow_values import fixed_width
from data.sources.compression import open_regular
from data.sources.limits import BATCH_BYTES, MAX_GROUP_BYTES
from data.sources.parquet_pages import PageChecker
from data.sources.records import BadRecord, Record, bad_record
from data.sources.table_rows import TableRows
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.sources.making import SourceFile

_READ_BUFFER_BYTES = 2**20


def read_parquet(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield an item a row, in order, one row group after the other.

    A row group that cannot be decoded costs its rows from the damage on; the others are read.
    Other columns are metadata, but for binary ones and vectors. In memory are a batch and, of each
    column, the page that it is in, which its writer has chosen the size of; `parquet_pages` refuses
    a row group with pages that claim more than they hold.

    Raises:
        BadInputError: a configured column is missing, or none is obvious for what it holds.
        OSError, pa.ArrowException: the file is missing or no Parquet.
    """
    with open_regular(source.path) as handle:
        # pre_buffer would hold whole row groups in memory.
        table = pq.ParquetFile(
            pa.PythonFile(handle, mode="r"), buffer_size=_READ_BUFFER_BYTES, pre_buffer=False
        )
        with closing(_TableReader(source, table)) as reader:
            for group in range(table.metadata.num_row_groups):
                yield from reader.group(group)


class _TableReader:
    """Reads the row groups of one table."""

    def __init__(self, source: SourceFile, table: pq.ParquetFile) -> None:
        self._table, self._file = table, source.file
        self._rows = TableRows(source, table.schema_arrow)
        self._rows_before = 0
        leaves = [table.schema.column(at) for at in range(len(table.schema))]
        self._leaves = [
            at
            for at, leaf in enumerate(leaves)
            if any(f"{leaf.path}.".startswith(f"{name}.") for name in self._rows.columns)
        ]
        repeated = (at for at, leaf in enumerate(leaves) if leaf.max_repetition_level)
        self._pages = PageChecker(source.path, repeated=frozenset(repeated))

    def close(self) -> None:
        """Close what was opened for looking at pages."""
        self._pages.close()

    def group(self, group: int) -> Iterator[Record | BadRecord]:
        """Yield the rows of one row group."""
        first = self._rows_before + 1
        end = self._rows_before + self._table.metadata.row_group(group).num_rows
        done = self._rows_before
        try:
            for batch in self._batches(group):
                yield from self._rows.records(batch, done + 1)
                done += batch.num_rows
        except (BadInputError, OSError, pa.ArrowException, ValueError, MemoryError) as error:
            lost = f"rows {max(first, done + 1)}-{end}"
            problem = BadInputError(f"row group {group + 1} is damaged: {error}")
            problem.__cause__ = error
            yield bad_record(self._file, lost, "read", problem)
        self._rows_before = end

    def _batches(self, group: int) -> Iterator[pa.RecordBatch]:
        rows = self._batch_rows(group, self._pages.largest_value(self._leaves))
        total_bytes = 0
        for batch in self._table.iter_batches(
            rows, row_groups=[group], columns=self._rows.columns, use_threads=False
        ):
            total_bytes += sum(one.nbytes for one in batch.columns if not is_dictionary(one.type))
            if total_bytes > MAX_GROUP_BYTES:
                raise BadInputError(f"it unpacks to more than {MAX_GROUP_BYTES} bytes")
            yield batch

    def _batch_rows(self, group: int, largest: int) -> int:
        # The sizes of single columns would be closer, but Arrow ends the whole process
        # (std::terminate) where Python asks for a column's metadata and its statistics are damaged.
        found = self._table.metadata.row_group(group)
        schema = self._table.schema_arrow
        fixed = sum(fixed_width(schema.field(name).type) for name in self._rows.columns)
        each = max(1, found.total_byte_size // max(1, found.num_rows), largest, fixed)
        return int(max(1, min(self._rows.most_rows, BATCH_BYTES // each)))
