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
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake

from data.commits import file_paths, open_delta, retrying_commit
from data.schemas import TABLES, TableSchema
from data.stores import LocalStore, open_dataset, open_store
from latentlake.errors import ConfigError, LakeError, LakeNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from deltalake import DeltaTable as Delta

_HIVE = ds.partitioning(pa.schema([("space", pa.string())]), flavor="hive")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the whole lake.

    Attributes:
        number: counts from 1; snapshots are totally ordered.
        run_id: the run that ended in it.
        at: when it was made, ISO 8601 in UTC.
        versions: Delta version of every table, by its folder under the root.
    """

    number: int
    run_id: str
    at: str
    versions: dict[str, int] = field(default_factory=dict)


class Lake:
    """All tables under one root. Cheap to make: nothing is read until it is asked for.

    Attributes:
        store: the door to its files, in a folder or on S3.
    """

    def __init__(self, root: str) -> None:
        self.store = open_store(root)

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

    def place(self, name: str) -> Path:
        """Return the folder of a table of a local lake, by its name in `data.schemas`."""
        return self.root / "tables" / name

    def delta(self, folder: str, version: int | None = None) -> Delta | None:
        """Open a Delta table by its folder under the root, or return None if there is none."""
        return open_delta(self.store, folder, version)

    def files(self, name: str, snapshot: Snapshot | None = None) -> list[str]:
        """Return the Parquet files of a table, in a snapshot or as of now."""
        folder = f"tables/{name}"
        if snapshot is not None and folder not in snapshot.versions:
            return []
        table = self.delta(folder, snapshot.versions[folder] if snapshot else None)
        return file_paths(table) if table else []

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
        partitioning = _HIVE if TABLES[name].per_space else None
        dataset = open_dataset(files, schema, partitioning)
        if within is None:
            return _matching(dataset, where, columns or schema.names)
        # A list cannot be pushed down at all: see `_matching`.
        column, values = within
        scanned = list(dict.fromkeys([*(columns or schema.names), column]))
        table = _matching(dataset, where, scanned)
        table = table.filter(pc.is_in(table[column], value_set=values))
        return table.select(columns) if columns else table

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
        match = " AND ".join(f"t.{column} = s.{column}" for column in schema.key)
        changed = {
            column: f"s.{column}"
            for column in schema.columns.names
            if column not in (*schema.key, *schema.kept)
        }

        def commit() -> None:
            table = self._ready(schema)
            merge = table.merge(
                rows,
                predicate=match,
                source_alias="s",
                target_alias="t",
                commit_properties=_signed(run_id),
            )
            merge.when_matched_update(changed).when_not_matched_insert_all().execute()

        retrying_commit(commit, self.store.address(f"tables/{name}"))
        return int(rows.num_rows)

    def delete(self, name: str, ids: pa.Table, run_id: str) -> None:
        """Remove the rows whose key stands in `ids` (the key's columns), in one commit."""
        if ids.num_rows == 0:
            return
        schema = TABLES[name]
        match = " AND ".join(f"t.{column} = s.{column}" for column in schema.key)

        def commit() -> None:
            table = self._ready(schema)
            merge = table.merge(
                ids,
                predicate=match,
                source_alias="s",
                target_alias="t",
                commit_properties=_signed(run_id),
            )
            merge.when_matched_delete().execute()

        retrying_commit(commit, self.store.address(f"tables/{name}"))

    def replace_space(self, name: str, space: str, rows: pa.Table, run_id: str) -> None:
        """Replace all rows of one space in a table that is partitioned by space, in one commit."""
        schema = TABLES[name]

        def commit() -> None:
            write_deltalake(
                self._ready(schema),
                rows.cast(schema.columns),
                mode="overwrite",
                predicate=f"space = '{space}'",
                commit_properties=_signed(run_id),
            )

        retrying_commit(commit, self.store.address(f"tables/{name}"))

    def _ready(self, schema: TableSchema) -> Delta:
        return DeltaTable.create(
            self.store.address(f"tables/{schema.name}"),
            schema=Schema.from_arrow(schema.columns),
            mode="ignore",
            partition_by=["space"] if schema.per_space else None,
            storage_options=self.store.delta_options,
        )

    # Snapshots -----------------------------------------------------------------------------------

    def snapshots(self) -> list[int]:
        """Return the numbers of all snapshots, in order."""
        stems = (name.removesuffix(".json") for name in self.store.names("snapshots"))
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def snapshot(self, number: int | None = None) -> Snapshot:
        """Return a snapshot; by default the last one.

        Raises:
            LakeNotFoundError: no run has ended yet.
            LakeError: there is no snapshot of this number.
        """
        if number is None:
            numbers = self.snapshots()
            if not numbers:
                raise LakeNotFoundError(self.uri)
            number = numbers[-1]
        try:
            content = self.store.read(_snapshot_name(number))
        except FileNotFoundError:
            raise LakeError(f"{self.uri}: no snapshot {number}.") from None
        return Snapshot(**json.loads(content))

    def commit_snapshot(self, run_id: str) -> Snapshot:
        """Make the tables' present versions the lake's new state, in one atomic step."""
        while True:
            number = (self.snapshots() or [0])[-1] + 1
            snapshot = Snapshot(
                number=number,
                run_id=run_id,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
                versions=self._versions(),
            )
            content = json.dumps(asdict(snapshot), indent=1).encode()
            if self.store.create(_snapshot_name(number), content):
                return snapshot

    def _versions(self) -> dict[str, int]:
        below = self.store.folders
        folders = [f"tables/{table}" for table in below("tables")]
        for space in below("embeddings"):
            folders += [f"embeddings/{space}/{one}" for one in below(f"embeddings/{space}")]
        tables = {folder: self.delta(folder) for folder in sorted(folders)}
        return {folder: table.version() for folder, table in tables.items() if table is not None}


def _matching(dataset: ds.Dataset, where: ds.Expression | None, columns: list[str]) -> pa.Table:
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


def table_of(name: str, rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Build rows of a table from mappings; a missing key is null."""
    return pa.Table.from_pylist(list(rows), schema=TABLES[name].columns)


def _signed(run_id: str) -> CommitProperties:
    return CommitProperties(custom_metadata={"run_id": run_id})


def _snapshot_name(number: int) -> str:
    return f"snapshots/{number:012d}.json"
