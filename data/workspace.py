"""Where a stage holds more rows than memory should: DuckDB with a limit, and a folder to spill to.

A stage that compares what it found with what the lake knows writes the found rows to a Parquet file
here, and lets DuckDB join them with the lake's own files. Joins and sorts that do not fit into the
limit go through the folder, so a stage's memory does not grow with the lake.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.databases import NAME, database, fresh_database
from data.disk import writing_to
from data.schemas import TABLES
from data.storage import scratch_folder
from data.stores import is_remote
from latentlake.errors import MemoryLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data.lake import Lake

SPOOL_ROWS = 4096
"""Rows that a spool holds as Python objects, at most: about 1 KB each, long strings aside."""

STREAM_ROWS, STREAM_BYTES = 16384, 16 * 2**20
"""Of an answer, what is yielded at once: so many rows, fewer where they are large."""

_VECTOR_ROWS = 2048
"""DuckDB's own unit, which bounds what a batch of large rows takes before it can be weighed."""


class Workspace:
    """A DuckDB connection of a stage, with views over the lake's tables as they are now."""

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self._connection = connection

    def execute(self, sql: str) -> None:
        """Run a statement that answers nothing."""
        with self._limited():
            self._connection.execute(sql)

    def counts(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the few rows that a query answers with."""
        with self._limited():
            return self._connection.execute(sql).fetchall()

    def count(self, relation: str) -> int:
        """Return how many rows a relation has."""
        return int(self.counts(f"SELECT count(*) FROM {relation}")[0][0])

    def stream(self, sql: str) -> Iterator[pa.Table]:
        """Yield a query's rows as they are found; other queries may run meanwhile."""
        held: list[pa.RecordBatch] = []
        with self._limited(), self._connection.cursor() as cursor:
            cursor.execute(f"USE {NAME}")
            for batch in cursor.sql(sql).to_arrow_reader(_VECTOR_ROWS):
                held.append(batch)
                size_bytes = sum(one.nbytes for one in held)
                if sum(map(len, held)) >= STREAM_ROWS or size_bytes >= STREAM_BYTES:
                    yield pa.Table.from_batches(held)
                    held = []
            if any(map(len, held)):
                yield pa.Table.from_batches(held)

    def view_table(self, lake: Lake, name: str) -> None:
        """Make a view of a table of the lake, under its name, over what is committed now."""
        columns = TABLES[name].columns
        if files := lake.files(name):
            self.view_files(name, files, columns.names)
        else:
            nothing = columns.empty_table()
            self._connection.register("nothing", nothing)
            self.execute(f"CREATE TABLE {name} AS FROM nothing")

    def view_files(self, name: str, paths: list[str], columns: list[str]) -> None:
        """Make a view of columns of Parquet files, with the column `filename` besides."""
        listed = ", ".join(quoted(path) for path in paths)
        self.execute(
            f"CREATE OR REPLACE VIEW {name} AS SELECT {', '.join(columns)}, filename "
            f"FROM read_parquet([{listed}], filename = true)"
        )

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Tell of what DuckDB may take, on disk and in memory, with a way out."""
        try:
            with writing_to(self.folder):
                yield
        except duckdb.OutOfMemoryException as error:
            reason = str(error).partition("\n")[0]
            raise MemoryLimitError(reason) from error

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
            writer = pq.ParquetWriter(path, numbered)
        try:
            spool = Spool(path, writer, most_bytes)
            yield spool
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                writer.close()
            raise
        spool.flush()
        with writing_to(path):
            writer.close()
        self.execute(f"CREATE VIEW {name} AS FROM read_parquet({quoted(str(path))})")


class Spool:
    """Rows on their way to a file of the workspace; made by `Workspace.spool`."""

    def __init__(self, path: Path, writer: pq.ParquetWriter, most_bytes: int) -> None:
        self._path, self._writer, self._most_bytes = path, writer, most_bytes
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
            rows = pa.Table.from_pylist(self._waiting, schema=self._writer.schema)
            with writing_to(self._path):
                self._writer.write_table(rows)
            self._waiting, self._bytes = [], 0


@contextmanager
def workspace(lake: Lake, name: str, memory_bytes: int, threads: int) -> Iterator[Workspace]:
    """Open a workspace, and leave nothing of it.

    Args:
        lake: whose tables it can read.
        name: of its folder in the lake; for a lake on S3 the system's temporary folders serve.
        memory_bytes: what DuckDB may hold before it spills to the folder.
        threads: how many DuckDB may use.

    Raises:
        LakeNotWritableError: the disk is full or read-only.
        MemoryLimitError: something does not fit into the memory, even by spilling.
    """
    with _folder(lake, name) as folder:
        config: dict[str, str | int | bool] = {
            "memory_limit": f"{memory_bytes}B",
            "temp_directory": str(folder / "spill"),
            "threads": threads,
            "preserve_insertion_order": False,
            # Joins go as they are written, the right side in memory: DuckDB would choose by the
            # number of rows alone, and rows of one side may be large.
            "disabled_optimizers": "join_order,build_side_probe_side",
        }
        with _connected(lake, config) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield Workspace(folder, connection)


@contextmanager
def _connected(
    lake: Lake, config: dict[str, str | int | bool]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that reads the lake's files: on S3 one of its own."""
    if not is_remote(lake.uri):
        with database(config) as connection:
            yield connection
        return
    from data.stores.sql import ReadOnlyS3

    with fresh_database(config) as connection:
        connection.register_filesystem(ReadOnlyS3(lake.uri))
        yield connection


@contextmanager
def _folder(lake: Lake, name: str) -> Iterator[Path]:
    """Yield an empty folder on this machine; what dead writers left, the next one removes."""
    if is_remote(lake.uri):
        with scratch_folder() as folder:
            yield folder
        return
    folder = lake.root / "work" / name
    shutil.rmtree(folder, ignore_errors=True)
    with writing_to(folder):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def quoted(value: str) -> str:
    """Quote a value as an SQL string."""
    return "'" + value.replace("'", "''") + "'"
