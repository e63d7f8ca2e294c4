"""Where a stage holds more rows than memory should: DuckDB with a limit, and a folder to spill to.

A stage that compares what it found with what the lake knows writes the found rows to a Parquet file
here, and lets DuckDB join them with the lake's own files. Joins and sorts that do not fit into the
limit go through the folder, so a stage's memory does not grow with the lake.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.disk import writing_to
from data.schemas import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data.lake import Lake

SPOOL_ROWS = 4096
"""Rows that a spool holds as Python objects, at most: about 3 KB each."""

STREAM_ROWS = 16384
"""Rows in a batch of an answer."""


class Workspace:
    """A DuckDB connection of a stage, with views over the lake's tables as they are now."""

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self._connection = connection

    def execute(self, sql: str) -> None:
        """Run a statement that answers nothing."""
        self._connection.execute(sql)

    def counts(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the few rows that a query answers with."""
        return self._connection.execute(sql).fetchall()

    def count(self, relation: str) -> int:
        """Return how many rows a relation has."""
        return int(self.counts(f"SELECT count(*) FROM {relation}")[0][0])

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield a query's rows as they are found; other queries may run meanwhile."""
        with self._connection.cursor() as cursor:
            yield from cursor.sql(sql).to_arrow_reader(STREAM_ROWS)

    def view_table(self, lake: Lake, name: str) -> None:
        """Make a view of a table of the lake, under its name, over what is committed now."""
        columns = TABLES[name].columns
        if files := lake.files(name):
            self.view_files(name, files, columns.names)
        else:
            nothing = columns.empty_table()
            self._connection.register("nothing", nothing)
            self.execute(f"CREATE TABLE {name} AS FROM nothing")
            self._connection.unregister("nothing")

    def view_files(self, name: str, paths: list[str], columns: list[str]) -> None:
        """Make a view of columns of Parquet files, with the column `filename` besides."""
        listed = ", ".join(quoted(path) for path in paths)
        self.execute(
            f"CREATE OR REPLACE VIEW {name} AS SELECT {', '.join(columns)}, filename "
            f"FROM read_parquet([{listed}], filename = true)"
        )

    @contextmanager
    def spool(self, name: str, columns: pa.Schema, most_bytes: int) -> Iterator[Spool]:
        """Collect rows; afterwards they are a view, with their number, from 0, in a column `n`.

        Args:
            name: the view's.
            columns: their schema.
            most_bytes: bytes of strings that are held as Python objects, at most.

        Raises:
            LakeNotWritableError: the disk is full or read-only.
        """
        path = self.folder / f"{name}.parquet"
        numbered = pa.schema([pa.field("n", pa.int64()), *columns])
        with writing_to(path):
            with pq.ParquetWriter(path, numbered) as writer:
                spool = Spool(writer, numbered, most_bytes)
                yield spool
                spool.flush()
            self.execute(f"CREATE VIEW {name} AS FROM read_parquet({quoted(str(path))})")


class Spool:
    """Rows on their way to a file of the workspace; made by `Workspace.spool`."""

    def __init__(self, writer: pq.ParquetWriter, columns: pa.Schema, most_bytes: int) -> None:
        self._writer, self._columns, self._most_bytes = writer, columns, most_bytes
        self._waiting: list[dict[str, Any]] = []
        self._bytes = 0
        self.rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """Take a row; a missing key is null."""
        self._waiting.append(row | {"n": self.rows})
        self._bytes += sum(len(value) for value in row.values() if isinstance(value, str))
        self.rows += 1
        if len(self._waiting) == SPOOL_ROWS or self._bytes >= self._most_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._columns))
            self._waiting, self._bytes = [], 0


@contextmanager
def workspace(folder: Path, memory_bytes: int, threads: int) -> Iterator[Workspace]:
    """Open a workspace, and leave nothing of it.

    Args:
        folder: a place of its own, made and removed here.
        memory_bytes: what DuckDB may hold before it spills to the folder.
        threads: how many DuckDB may use.

    Raises:
        LakeNotWritableError: the disk is full or read-only.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with writing_to(folder):
        folder.mkdir(parents=True)
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_bytes}B",
            "temp_directory": str(folder / "spill"),
            "threads": threads,
            "preserve_insertion_order": False,
        }
        try:
            with duckdb.connect(config=config) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                yield Workspace(folder, connection)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def quoted(value: str) -> str:
    """Quote a value as an SQL string."""
    return "'" + value.replace("'", "''") + "'"
