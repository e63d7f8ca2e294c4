"""A table's rows added, changed and removed in one commit, whatever their number.

Delta files are immutable, so a row is changed by writing its file anew (copy on write). Rows come
as queries of a workspace and go as streams, so memory holds a batch of them and what DuckDB may
have; new rows cost what they are, changed ones the files that they stand in. See decision 0012.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema
from deltalake.transaction import AddAction, RemoveAction

from data.commits import file_paths, retrying_commit, signed
from data.schemas import TABLES
from latentlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake
    from data.table_schema import TableSchema
    from data.workspace import Workspace

FILE_ROWS, FILE_BYTES = 16 * 16384, 256 * 2**20
"""Rows of a file, roughly, fewer where they are large: what a change of one row writes anew."""


@dataclass(frozen=True, slots=True)
class TableChange:
    """What becomes of a table, as queries of a workspace.

    Attributes:
        added: whole rows whose keys the table does not have.
        changed: whole rows whose keys it has, once each.
        gone: keys of the rows to remove.
    """

    added: str | None = None
    changed: str | None = None
    gone: str | None = None


def change_table(lake: Lake, name: str, work: Workspace, change: TableChange, run_id: str) -> bool:
    """Commit a change to a table that is not partitioned.

    Args:
        lake: where it is; the caller is its only writer.
        name: the table's, of which `work` has a view.
        work: answers the queries.
        change: what to do.
        run_id: recorded in the commit.

    Returns:
        Whether there was anything to commit.

    Raises:
        LakeError: somebody else has changed the table meanwhile.
    """
    schema = TABLES[name]
    replaced = _keys_of(schema, change)
    rewritten = _files_with(work, name, schema, replaced) if replaced else []
    queries = [query for query in (change.changed, change.added) if query]
    if rewritten:
        queries.insert(0, _rows_that_stay(work, schema, rewritten, replaced))
    written = list(_write(lake, schema, _rows(work, schema, queries), run_id))
    if not written and not rewritten:
        return False
    _commit(lake, schema, written, rewritten, run_id)
    return True


def append_rows(lake: Lake, name: str, rows: Iterator[pa.Table], run_id: str) -> int:
    """Add rows whose keys a table that is not partitioned does not have, a file and commit at once.

    What is committed stays when the process dies, so rows must not depend on one another.

    Args:
        lake: where it is; the caller is its only writer.
        name: the table's.
        rows: whole rows, in parts of a few megabytes that are written as they come.
        run_id: recorded in the commits.

    Returns:
        How many rows were added.
    """
    schema, count = TABLES[name], 0
    for written in _write(lake, schema, rows, run_id):
        _commit(lake, schema, [written], [], run_id)
        count += int(json.loads(written.stats)["numRecords"])
    return count


def _commit(
    lake: Lake,
    schema: TableSchema,
    written: list[AddAction],
    rewritten: list[str],
    run_id: str,
) -> None:
    """Make written files part of a table in the place of rewritten ones."""
    name = schema.name

    def commit() -> None:
        with lake.opened.to_commit(f"tables/{name}", schema.columns) as table:
            present = file_paths(table)
            if {action.path for action in written} & {PurePath(path).name for path in present}:
                return  # the commit was done, and only its answer was lost
            if not set(rewritten) <= set(present):
                raise LakeError(f"the table '{name}' was changed by another writer; run again.")
            now_ms = int(time.time() * 1000)
            removed = [
                RemoveAction(PurePath(path).name, data_change=True, deletion_timestamp=now_ms)
                for path in rewritten
            ]
            table.create_write_transaction(
                [*removed, *written],
                mode="append",
                schema=Schema.from_arrow(schema.columns),
                commit_properties=signed(run_id),
            )

    retrying_commit(commit, name, lake.uri)


def _keys_of(schema: TableSchema, change: TableChange) -> str:
    """Return a query for the keys of all rows that do not stay as they are; "" for none."""
    keys = ", ".join(schema.key)
    parts = [f"SELECT {keys} FROM ({query})" for query in (change.changed, change.gone) if query]
    return " UNION ALL ".join(parts)


def _files_with(work: Workspace, name: str, schema: TableSchema, keys: str) -> list[str]:
    using = ", ".join(schema.key)
    if not work.counts(f"SELECT 1 FROM ({keys}) LIMIT 1"):
        return []
    found = work.counts(f"SELECT DISTINCT filename FROM {name} SEMI JOIN ({keys}) USING ({using})")
    return sorted(path for (path,) in found)


def _rows_that_stay(work: Workspace, schema: TableSchema, paths: list[str], replaced: str) -> str:
    work.view_files("rewritten", paths, schema.columns.names)
    return f"FROM rewritten ANTI JOIN ({replaced}) USING ({', '.join(schema.key)})"


def _rows(work: Workspace, schema: TableSchema, queries: list[str]) -> Iterator[pa.Table]:
    names = ", ".join(schema.columns.names)
    for query in queries:
        for found in work.stream(f"SELECT {names} FROM ({query})"):
            yield found.cast(schema.columns)


def _write(
    lake: Lake, schema: TableSchema, rows: Iterator[pa.Table], run_id: str
) -> Iterator[AddAction]:
    """Write rows to as many files as they need; nothing names these files yet."""
    for first in rows:
        name = f"part-{run_id}-{secrets.token_hex(6)}.parquet"
        count, size = first.num_rows, first.nbytes
        with lake.store.writing(f"tables/{schema.name}/{name}", "rows") as temporary:
            with pq.ParquetWriter(temporary, schema.columns) as writer:
                writer.write_table(first)
                while count < FILE_ROWS and size < FILE_BYTES:
                    part = next(rows, None)
                    if part is None:
                        break
                    writer.write_table(part)
                    count, size = count + part.num_rows, size + part.nbytes
            size_bytes = temporary.stat().st_size
        yield AddAction(
            path=name,
            size=size_bytes,
            partition_values={},
            modification_time=0,
            data_change=True,
            stats=json.dumps({"numRecords": count}),
        )
