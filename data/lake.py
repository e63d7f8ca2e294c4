"""The lake: Delta tables under one root, and the snapshots that tie their versions together.

Each table is a Delta table of its own, so a run that commits to several needs one more step to be
seen whole: a snapshot, a small numbered JSON file that names a version of every table. It is
created with put-if-absent, so snapshots are in one order, and readers take the last one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from data.commits import (
    last_version,
    open_delta,
    retrying_commit,
)
from data.opened import OpenedTables
from data.row_changes import delete_rows, upsert_rows
from data.scans import matching_rows
from data.schemas import SCHEMA_VERSION, TABLES
from data.small_tables import SmallTables
from data.space_files import commit_space_file, write_space_file
from data.stores import LocalStore, open_dataset, open_store
from data.versions import require_version
from latentlake.errors import ConfigError, LakeError, LakeNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from deltalake import DeltaTable as Delta

    from data.table_schema import TableSchema

_HIVE = ds.partitioning(pa.schema([("space", pa.string())]), flavor="hive")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the whole lake.

    Attributes:
        number: counts from 1; snapshots are totally ordered.
        run_id: the run that ended in it.
        at: when it was made, ISO 8601 in UTC.
        versions: Delta version of every table, by its folder under the root.
        schema_version: the layout of the tables; snapshots before version 1 do not say.
    """

    number: int
    run_id: str
    at: str
    versions: dict[str, int] = field(default_factory=dict)
    schema_version: int = 0

    def __post_init__(self) -> None:
        numbers = (self.number, self.schema_version, *self.versions.values())
        if not all(isinstance(number, int) for number in numbers):
            raise TypeError("a number or version is none")


class Lake:
    """All tables under one root. Cheap to make: nothing is read until it is asked for.

    Attributes:
        store: the door to its files, in a folder or on S3.
        opened: its Delta tables, as they were opened last.
    """

    def __init__(self, root: str) -> None:
        self.store = open_store(root)
        self._forget_tables()

    def _forget_tables(self) -> None:
        self.opened = OpenedTables(self.store)
        self._small = SmallTables(self.store)

    @property
    def uri(self) -> str:
        """The root as people and SQL read it: an absolute path or an `s3://` URL."""
        return self.store.uri

    @property
    def root(self) -> Path:
        """The root's folder, for what only works on this machine's disk.

        Raises:
            ConfigError: the lake is on S3.
        """
        if not isinstance(self.store, LocalStore):
            raise ConfigError(f"{self.uri}: this works for lakes in a local folder only.")
        return self.store.root

    # Tables --------------------------------------------------------------------------------------

    def delta(self, folder: str, version: int | None = None) -> Delta | None:
        """Open a Delta table by its folder under the root, or return None if there is none."""
        return open_delta(self.store, folder, version)

    def files(self, name: str, snapshot: Snapshot | None = None) -> list[str]:
        """Return the Parquet files of a table, in a snapshot or as of now."""
        return self.paths(f"tables/{name}", snapshot)

    def paths(self, folder: str, snapshot: Snapshot | None = None) -> list[str]:
        """Return the Parquet files of the Delta table in a folder, sorted.

        A version never changes, so its log is read once; the last one is known by its name.
        """
        version = snapshot.versions.get(folder) if snapshot else last_version(self.store, folder)
        if version is None:
            return []
        return self.opened.paths(folder, version)

    def read(
        self,
        name: str,
        *,
        snapshot: Snapshot | None = None,
        where: ds.Expression | None = None,
        within: tuple[str, pa.Array] | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        """Read a table, whole or in part.

        Args:
            name: its name in `data.schemas`.
            snapshot: the state to read; by default what is committed now.
            where: comparisons, pushed down to the files.
            within: a column and the values it may have; long lists are welcome.
            columns: the columns to read; by default all.
        """
        schema = TABLES[name].columns
        files = self.files(name, snapshot)
        if not files:
            empty = schema.empty_table()
            return empty.select(columns) if columns else empty
        if within is None:
            return self._matching(TABLES[name], files, where, columns or schema.names)
        # A list cannot be pushed down at all: see `matching_rows`.
        column, values = within
        scanned = list(dict.fromkeys([*(columns or schema.names), column]))
        table = self._matching(TABLES[name], files, where, scanned)
        table = table.filter(pc.is_in(table[column], value_set=values))
        return table.select(columns) if columns else table

    def _matching(
        self, table: TableSchema, files: list[str], where: ds.Expression | None, columns: list[str]
    ) -> pa.Table:
        if table.is_small:
            rows = self._small.rows(table, files)
            return (rows if where is None else rows.filter(where)).select(columns)
        dataset = open_dataset(files, table.columns, _HIVE if table.per_space else None)
        return matching_rows(dataset, where, columns)

    def upsert(self, name: str, rows: pa.Table, run_id: str) -> int:
        """Insert new rows and update known ones by the table's key, in one commit.

        Args:
            name: its name in `data.schemas`.
            rows: one row a key; columns as in the schema.
            run_id: recorded in the commit.

        Returns:
            How many rows were given; with none, nothing is committed.
        """
        if rows.num_rows == 0:
            return 0
        schema = TABLES[name]
        upsert = self._small.upsert if schema.is_small else upsert_rows
        self._commit(schema, lambda table: upsert(table, schema, rows, run_id))
        return int(rows.num_rows)

    def delete(self, name: str, ids: pa.Table, run_id: str) -> None:
        """Remove the rows whose key stands in `ids` (the key's columns), in one commit."""
        if ids.num_rows == 0:
            return
        schema = TABLES[name]
        self._commit(schema, lambda table: delete_rows(table, schema, ids, run_id))

    def replace_space(
        self,
        name: str,
        space: str,
        rows: pa.Table | Iterator[pa.Table],
        run_id: str,
        *,
        keep: bool = False,
    ) -> None:
        """Replace all rows of one space in a table that is partitioned by space, in one commit.

        Rows may come in parts, which are written as they come, and columns of strings or of lists
        of strings as dictionaries; see `data.space_files.write_space_file`. With `keep` the rows
        that are there stay, and these come beside them.
        """
        schema = TABLES[name]
        added = write_space_file(self.store, schema, space, rows, run_id)
        self._commit(
            schema,
            lambda table: commit_space_file(table, schema, space, added, run_id, keep=keep),
        )

    def _commit(self, schema: TableSchema, change: Callable[[Delta], None]) -> None:
        """Open a table and commit to it, anew where another came first."""
        folder, partitions = f"tables/{schema.name}", ["space"] if schema.per_space else None

        def commit() -> None:
            with self.opened.to_commit(folder, schema.columns, partitions) as table:
                change(table)

        retrying_commit(commit, schema.name, self.uri)

    # Snapshots -----------------------------------------------------------------------------------

    def snapshots(self) -> list[int]:
        """Return the numbers of all snapshots, in order."""
        stems = (n.removesuffix(".json") for n in self.store.names("snapshots") if ".json" in n)
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def snapshot(self, number: int | None = None) -> Snapshot:
        """Return a snapshot; by default the last one.

        Raises:
            LakeNotFoundError: no run has ended yet.
            LakeError: there is no snapshot of this number.
            SchemaVersionError: its tables have another layout than this code's.
        """
        if number is None:
            numbers = self.snapshots()
            if not numbers:
                raise LakeNotFoundError(self.uri)
            number = numbers[-1]
        snapshot = self.any_snapshot(number)
        require_version(f"{self.uri}, snapshot {number}", snapshot.schema_version)
        return snapshot

    def any_snapshot(self, number: int) -> Snapshot:
        """Return a snapshot whatever the layout of its tables.

        Raises:
            LakeError: there is none of this number, or its file is damaged.
        """
        name = snapshot_name(number)
        try:
            content = json.loads(self.store.read(name))
            known = {name: content[name] for name in Snapshot.__slots__ if name in content}
            return Snapshot(**known)
        except FileNotFoundError:
            raise LakeError(f"{self.uri}: no snapshot {number}.") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            place = self.store.address(name)
            raise LakeError(f"{place}: no snapshot of a lake: {error}") from None

    def commit_snapshot(self, run_id: str) -> Snapshot:
        """Make the tables' present versions the lake's new state, in one atomic step."""
        while True:
            number = (self.snapshots() or [0])[-1] + 1
            snapshot = Snapshot(
                number=number,
                run_id=run_id,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                versions=self.versions(),
                schema_version=SCHEMA_VERSION,
            )
            content = json.dumps(asdict(snapshot), indent=1).encode()
            self.store.require_writer()
            if self.store.create(snapshot_name(number), content, "snapshot"):
                return snapshot

    def table_folders(self) -> list[str]:
        """Return the folders of all Delta tables under the root, sorted."""
        return list(self.versions())

    def versions(self) -> dict[str, int]:
        """Return the version of every table as it is committed now, by folder under the root."""
        below = self.store.folders
        folders = [f"tables/{name}" for name in below("tables")]
        for space in below("embeddings"):
            folders += [f"embeddings/{space}/{one}" for one in below(f"embeddings/{space}")]
        versions = {folder: last_version(self.store, folder) for folder in sorted(folders)}
        # A writer that died while it made a table leaves a log without a commit: no table yet.
        return {folder: last for folder, last in versions.items() if last is not None}


def snapshot_name(number: int) -> str:
    """Return the name of a snapshot's file in the store."""
    return f"snapshots/{number:012d}.json"


def table_of(name: str, rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Build rows of a table from mappings; a missing key is null."""
    return pa.Table.from_pylist(list(rows), schema=TABLES[name].columns)
