"""Rows of the lake's tables: those for which an expression holds, or all, a part at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from data.schemas import TABLES
from data.stores import open_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake


def matching_rows(dataset: ds.Dataset, where: ds.Expression | None, columns: list[str]) -> pa.Table:
    """Read the rows for which an expression holds.

    The files that delta-rs writes have statistics of type string_view. Where those say that a
    column holds one value only, Arrow 26 compares that with the string at hand, and has no kernel
    to do so; then the rows are read first and filtered as a stream.
    """
    try:
        return dataset.to_table(filter=where, columns=columns)
    except pa.ArrowNotImplementedError:
        rows = dataset.to_batches()
        scanner = ds.Scanner.from_batches(
            rows, schema=dataset.schema, filter=where, columns=columns
        )
        return scanner.to_table()


def table_batches(
    lake: Lake, name: str, columns: list[str], within: tuple[str, pa.Array] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a table that is not partitioned, as it is committed now, a part at a time.

    Args:
        lake: whose.
        name: its name in `data.schemas`.
        columns: the columns to read.
        within: one of these columns, and the values it may have; by default all rows are read.
    """
    files = lake.files(name)
    if files:
        dataset = open_dataset(files, TABLES[name].columns, None)
        for batch in dataset.to_batches(columns=columns, batch_readahead=1, fragment_readahead=1):
            if within is None:
                yield batch
            else:
                yield batch.filter(pc.is_in(batch[within[0]], value_set=within[1]))
