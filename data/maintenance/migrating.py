"""Lakes of older layouts, brought to the present one step by step.

A migration takes a table from one schema version to the next. It rewrites the table as a new Delta
version, so snapshots from before stay what they were, and may be cut off anywhere: what is done
already is recognised and passed over. The version in a table's description is raised last.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import write_deltalake

from data.catalog import version_key
from data.commits import file_paths, open_to_write, retrying_commit, signed
from data.maintenance.compacting import exchange_shards, join_shards
from data.schemas import SCHEMA_VERSION, SHARD_VERSION, TABLES
from data.shards import SpaceId, raw_footer
from data.stores import open_dataset, readable
from data.versions import TABLE_PROPERTIES, describe_version, described_version
from latentlake.errors import LakeError, SchemaVersionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deltalake import DeltaTable

    from data.lake import Lake

_HIVE: Final = ds.partitioning(pa.schema([("space", pa.string())]), flavor="hive")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a schema version to the next.

    Attributes:
        summary: what it does, for a person.
        rows: turns the rows of a table, by its name and with its old columns, into new ones.
        footer: turns a shard's footer into a new one; where its SHARD_VERSION is older than this
            code's, a shard is written anew and sealed.
    """

    summary: str
    rows: Callable[[str, pa.Table], pa.Table]
    footer: Callable[[dict[str, Any]], dict[str, Any]]


def _rows_from_0(name: str, rows: pa.Table) -> pa.Table:
    del name
    return rows.rename_columns(["recorded_at" if c == "at" else c for c in rows.column_names])


def _rows_from_3(name: str, rows: pa.Table) -> pa.Table:
    if name != "spaces" or "key" in rows.column_names:
        return rows
    versions = rows.to_pylist()
    keys = [
        row["space"] if row["is_current"] else version_key(row["space"], row["fingerprint"])
        for row in versions
    ]
    waiting = pa.array([False] * len(keys), pa.bool_())
    return rows.append_column("key", pa.array(keys, pa.string())).append_column(
        "is_waiting", waiting
    )


def _rows_from_4(name: str, rows: pa.Table) -> pa.Table:
    if name != "duplicates" or "score" in rows.column_names:
        return rows
    return rows.append_column("score", rows["similarity"])


MIGRATIONS: Final[dict[int, Migration]] = {
    0: Migration(
        "the column 'at' becomes 'recorded_at'; shards are sealed; logs of old versions are kept",
        _rows_from_0,
        lambda footer: footer,
    ),
    1: Migration(
        "'files' gets the column 'etag'; shards stay as they are",
        lambda name, rows: rows,  # noqa: ARG005  a column that is missing is null
        lambda footer: footer,
    ),
    2: Migration(
        "clusters get the column 'silhouette', filled by the next run; new tables 'pairs', "
        "'paired', 'centroids' and 'detector_fits'",
        lambda _, rows: rows,
        lambda footer: footer,
    ),
    3: Migration(
        "'spaces' gets the columns 'key' and 'is_waiting': a new version is filled beside the old; "
        "the new table 'vocabulary'",
        _rows_from_3,
        lambda footer: footer,
    ),
    4: Migration(
        "'duplicates' gets the column 'score'; new tables 'wordings', 'pixels', 'lexical_pairs' "
        "and 'lexical_paired', filled by the next run",
        _rows_from_4,
        lambda footer: footer,
    ),
}
"""The step that begins at each version."""


@dataclass(frozen=True, slots=True)
class Step:
    """A table that is to be migrated.

    Attributes:
        folder: of the Delta table, under the root.
        found: its schema version.
    """

    folder: str
    found: int


def plan_migration(lake: Lake) -> list[Step]:
    """List the tables of older layouts; nothing is changed.

    Raises:
        SchemaVersionError: a table was written by a newer latentlake.
    """
    steps = []
    for folder in lake.table_folders():
        table = lake.delta(folder)
        if table is None:
            continue
        found = described_version(table.metadata().description)
        if found > SCHEMA_VERSION:
            raise SchemaVersionError(folder, found, SCHEMA_VERSION)
        if found < SCHEMA_VERSION:
            steps.append(Step(folder, found))
    return steps


def migrate_tables(lake: Lake, steps: list[Step], run_id: str) -> None:
    """Bring tables to the present layout, the embeddings after the tables.

    Raises:
        LakeError: a table is none that this version knows.
        ShardError: a shard cannot be read.
    """
    for step in sorted(steps, key=lambda step: step.folder, reverse=True):
        kind, name, *rest = step.folder.split("/")
        if kind == "tables":
            _migrate_rows(lake, step, name, run_id)
        else:
            _migrate_shards(lake, step, name, rest[0], run_id)


def summaries(steps: list[Step]) -> list[str]:
    """Say what the steps do, one line a version."""
    first = min((step.found for step in steps), default=SCHEMA_VERSION)
    return [
        f"{version} to {version + 1}: {MIGRATIONS[version].summary}"
        for version in range(first, SCHEMA_VERSION)
    ]


def _migrate_rows(lake: Lake, step: Step, name: str, run_id: str) -> None:
    if name not in TABLES:
        raise LakeError(f"{step.folder}: no table that this version knows.")
    schema = TABLES[name]

    def commit() -> None:
        table = _table(lake, step.folder)
        if pa.schema(table.schema()).names == schema.columns.names:
            return
        rows = _read(table, _HIVE if schema.per_space else None)
        for migration in _between(step.found):
            rows = migration.rows(name, rows)
        write_deltalake(
            table,
            _fitted(rows, schema.columns),
            mode="overwrite",
            schema_mode="overwrite",
            partition_by=["space"] if schema.per_space else None,
            commit_properties=signed(run_id),
        )

    retrying_commit(commit, "migrated rows", lake.uri)
    _raise_version(lake, step.folder, run_id)


def _migrate_shards(lake: Lake, step: Step, name: str, fingerprint: str, run_id: str) -> None:
    """Write every shard anew under a name of its own: Delta's log holds sizes, snapshots names."""
    for path in file_paths(_table(lake, step.folder)):
        footer = raw_footer(path)
        if footer["schema_version"] == SHARD_VERSION:
            continue
        for migration in _between(int(footer["schema_version"])):
            footer = migration.footer(footer)
        space = SpaceId(name, fingerprint, footer["dim"], footer["metric"])
        everything = np.ones(pq.read_metadata(readable(path)).num_rows, bool)
        written = join_shards(lake, space, [path], [everything], footers=[footer])
        if written is not None:
            exchange_shards(lake, space, [PurePath(path).name], [written], run_id)
    _raise_version(lake, step.folder, run_id)


def _read(table: DeltaTable, partitioning: ds.Partitioning | None) -> pa.Table:
    columns = pa.schema(table.schema())
    files = file_paths(table)
    if not files:
        return columns.empty_table()
    return open_dataset(files, columns, partitioning).to_table()


def _fitted(rows: pa.Table, columns: pa.Schema) -> pa.Table:
    """Put columns into the schema's order; those that are missing are null."""
    nothing = pa.nulls(rows.num_rows)
    return pa.Table.from_arrays(
        [
            (rows[field.name] if field.name in rows.column_names else nothing).cast(field.type)
            for field in columns
        ],
        schema=columns,
    )


def _between(found: int) -> Iterator[Migration]:
    return (MIGRATIONS[version] for version in range(found, SCHEMA_VERSION))


def _table(lake: Lake, folder: str) -> DeltaTable:
    table = open_to_write(lake.store, folder)
    if table is None:
        raise LakeError(f"{lake.store.address(folder)}: no table any more.")
    return table


def _raise_version(lake: Lake, folder: str, run_id: str) -> None:
    def commit() -> None:
        table = _table(lake, folder)
        properties = {key: str(value) for key, value in TABLE_PROPERTIES.items()}
        table.alter.set_table_properties(properties, commit_properties=signed(run_id))
        table.alter.set_table_description(describe_version(), commit_properties=signed(run_id))

    retrying_commit(commit, "migrated table", lake.uri)
