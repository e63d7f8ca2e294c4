"""One space's rows of a partitioned table, written as one Parquet file and committed in its place.

Measured on 100k neighbour lists: the file is written in 0.2 s, where delta-rs's own overwrite takes
1.0 s and its merge of a tenth of the rows 1.7 s.

Lists of ids may come as Arrow dictionaries: each id is then stored once and numbered, which makes
the file of those lists a quarter as large and reading it seven times faster. The Parquet type, and
so what every reader sees, is a list of strings all the same.
"""

from __future__ import annotations

import json
import secrets
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema
from deltalake.transaction import AddAction, RemoveAction

from data.commits import file_paths, signed
from data.schemas import TABLES
from data.stores import readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    from deltalake import DeltaTable

    from data.lake import Lake
    from data.stores import Store
    from data.table_schema import TableSchema

_ELEMENTS: Final = ".list.element"
GROUP_ROWS: Final = 1 << 18
"""Rows of a row group: a writer holds one, and each has a dictionary of its own."""
READ_ROWS: Final = 1 << 15
"""Rows that a reader holds; they share their row group's dictionary."""
_DICTIONARY_BYTES: Final = 1 << 30
"""Beyond it a writer would fall back to plain strings; ids of 30 million rows stay below."""


def write_space_file(
    store: Store, schema: TableSchema, space: str, rows: pa.Table | Iterator[pa.Table], run_id: str
) -> AddAction | None:
    """Write a space's rows whole or not at all, under a name of their own.

    Args:
        store: the lake's.
        schema: the table's; strings and lists of strings may be given as dictionaries.
        space: the partition.
        rows: columns as in the schema, `space` aside, whole or in parts that are written as they
            come: those that add up to `GROUP_ROWS` rows share a row group, and should share their
            dictionaries.
        run_id: part of the name.

    Returns:
        What makes the file part of the table; None where there is no row.
    """
    groups = _groups(iter([rows]) if isinstance(rows, pa.Table) else rows)
    first = next(groups, None)
    if first is None:
        return None
    name = f"space={space}/part-{run_id}-{secrets.token_hex(4)}.parquet"
    with store.writing(f"tables/{schema.name}/{name}", "space file") as temporary:
        count = _write_groups(temporary, schema, chain([first], groups))
        size_bytes = temporary.stat().st_size
    return AddAction(
        path=name,
        size=size_bytes,
        partition_values={"space": space},
        modification_time=0,
        data_change=True,
        stats=json.dumps({"numRecords": count}),
    )


def _groups(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join parts to tables of a row group each; a part that is larger stays as it is."""
    held: list[pa.Table] = []
    for part in parts:
        if part.num_rows:
            held.append(part)
        if sum(one.num_rows for one in held) >= GROUP_ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _write_groups(path: Path, schema: TableSchema, groups: Iterator[pa.Table]) -> int:
    """Write one row group after the other; return how many rows there were."""
    columns = [one for one in schema.columns if one.name != "space"]
    count, writer = 0, None
    try:
        for rows in groups:
            numbered = {
                one.name: place
                for one in columns
                if (place := _numbered_path(one.name, rows[one.name]))
            }
            table = pa.table(
                {
                    one.name: rows[one.name]
                    if one.name in numbered
                    else rows[one.name].cast(one.type)
                    for one in columns
                }
            )
            writer = writer or pq.ParquetWriter(
                path,
                table.schema,
                compression="none",
                use_dictionary=list(numbered.values()),
                dictionary_pagesize_limit=_DICTIONARY_BYTES,
                write_statistics=[one.name for one in columns if one.name not in numbered],
                store_schema=False,
            )
            writer.write_table(table)
            count += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return count


def commit_space_file(
    table: DeltaTable,
    schema: TableSchema,
    space: str,
    added: AddAction | None,
    run_id: str,
    *,
    keep: bool = False,
) -> None:
    """Put a written file in the place of all the space's files, or beside them, in one commit."""
    actions: list[AddAction | RemoveAction] = [] if added is None else [added]
    if added is not None and PurePath(added.path).name in map(_name, file_paths(table)):
        return  # the commit was done, and only its answer was lost
    table.create_write_transaction(
        actions,
        mode="append" if keep else "overwrite",
        schema=Schema.from_arrow(schema.columns),
        partition_by=["space"],
        partition_filters=None if keep else [("space", "=", space)],
        commit_properties=signed(run_id),
    )


def read_numbered(lake: Lake, name: str, space: str, *columns: str) -> Iterator[pa.RecordBatch]:
    """Read a space's rows with the ids in some columns numbered.

    Args:
        lake: whose; as it is committed now.
        name: a partitioned table.
        space: the partition.
        columns: columns of strings, or of lists of strings; they come as dictionaries.

    Yields:
        All columns but `space`.
    """
    schema = TABLES[name].columns
    numbered = [
        one + _ELEMENTS if pa.types.is_list(schema.field(one).type) else one for one in columns
    ]
    for path in lake.files(name):
        if f"/space={space}/" in path:
            with pq.ParquetFile(readable(path), read_dictionary=numbered) as file:
                for group in range(file.num_row_groups):
                    yield from file.iter_batches(READ_ROWS, row_groups=[group], use_threads=False)


def numbered_ids(rows: npt.NDArray[np.int64], ids: pa.Array) -> pa.DictionaryArray:
    """Build a column of ids, each stored once, for `write_space_file`.

    Args:
        rows: (any,) int64, the number of each id.
        ids: what the numbers stand for.
    """
    used, codes = np.unique(rows, return_inverse=True)
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), ids.take(pa.array(used))
    )


def numbered_lists(rows: npt.NDArray[np.int64], ids: pa.Array) -> pa.ListArray:
    """Build a column of lists of ids, each stored once, for `write_space_file`.

    Args:
        rows: (lists, most) int64, the number of each id; negative ones are left out.
        ids: (any,) strings, what the numbers stand for.
    """
    present = rows >= 0
    codes = pa.array(rows[present].astype(np.int32))
    return pa.ListArray.from_arrays(offsets_of(present), pa.DictionaryArray.from_arrays(codes, ids))


def offsets_of(present: npt.NDArray[np.bool_]) -> pa.Array:
    """Return where lists begin and end that hold what is present: (lists + 1,) int32."""
    return pa.array(np.concatenate(([0], np.cumsum(present.sum(axis=1)))).astype(np.int32))


def _name(path: str) -> str:
    return PurePath(path).name


def _numbered_path(name: str, column: pa.ChunkedArray) -> str | None:
    """Return the Parquet path of a column's dictionary, None where it has none."""
    if pa.types.is_dictionary(column.type):
        return name
    if pa.types.is_list(column.type) and pa.types.is_dictionary(column.type.value_type):
        return name + _ELEMENTS
    return None
