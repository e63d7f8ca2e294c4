"""Rows of Parquet files for which an expression holds."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as ds


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
