"""Checks of snapshots, row tables and the catalog, and that references between tables hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from data.catalog import CATALOG_NAME
from data.lake import file_paths
from data.maintenance.findings import MEND, RUN, Finding, ForgetBuilds, RenewCatalog
from data.schemas import SCHEMA_VERSION, TABLES
from data.shards import shard_paths
from data.versions import described_version
from latentlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake, Snapshot
    from data.shards import SpaceId

_RESTORE: Final = "'latentlake restore NUMBER' with a sound snapshot makes that one current."
_REBUILD: Final = f"{MEND} forgets what was built, then {RUN} builds it again."

_REFERENCES: Final = {
    "pairs": (("first", "content"), ("second", "content")),
    "paired": (("content_id", "content"),),
    "neighbours": (("content_id", "content"), ("neighbours", "content")),
    "clusters": (("content_id", "content"),),
    "cluster_summary": (("medoid", "content"),),
    "anomalies": (("content_id", "content"), ("normal_neighbours", "content")),
    "duplicates": (("item_id", "item"), ("twin_id", "item")),
}
"""Columns that name contents or items, by table."""


def check_snapshots(lake: Lake) -> Iterator[Finding]:
    """Parse every snapshot, and look whether its versions and their files are there."""
    for number in lake.snapshots():
        subject = f"snapshot {number}"
        try:
            snapshot = lake.any_snapshot(number)
        except LakeError as error:
            yield Finding(subject, str(error), f"remove the file; {_RESTORE}")
            continue
        for folder, version in snapshot.versions.items():
            yield from _check_version(lake, f"{subject}, {folder}", folder, version)


def check_tables(lake: Lake, snapshot: Snapshot) -> Iterator[Finding]:
    """Read every row table whole: pages, row counts against Delta's log, the schema version."""
    for name in TABLES:
        folder = f"tables/{name}"
        if folder not in snapshot.versions:
            continue
        table = lake.delta(folder, snapshot.versions[folder])
        if table is None:
            continue
        version = described_version(table.metadata().description)
        if version != SCHEMA_VERSION:
            problem = f"schema version {version}, this code reads {SCHEMA_VERSION}"
            yield Finding(folder, problem, "'latentlake migrate'.")
        actions = pa.table(table.get_add_actions(flatten=True))
        rows = sum(actions["num_records"].to_pylist())
        try:
            found = sum(_count_rows(path) for path in file_paths(table))
        except (pa.ArrowException, OSError) as error:
            yield Finding(folder, f"cannot be read: {error}", _RESTORE)
            continue
        if found != rows:
            yield Finding(folder, f"{found} rows, the table's log says {rows}", _RESTORE)


def check_references(lake: Lake, snapshot: Snapshot, space: SpaceId) -> Iterator[Finding]:
    """Look whether the reports of a space refer to contents and items that there are.

    A report may be older than the items: a content counts that an item points to or that has a
    vector. What cannot be read is passed over here; the other checks say so.
    """
    try:
        items = lake.read("items", snapshot=snapshot, columns=["item_id", "content_id"])
    except (pa.ArrowException, OSError):
        return
    contents = [*items["content_id"].chunks, *_embedded(lake, snapshot, space)]
    known = {"item": items["item_id"], "content": pa.chunked_array(contents, pa.string())}
    for table, columns in _REFERENCES.items():
        for column, kind in columns:
            missing = _missing(lake, snapshot, (table, column, space.name), known[kind])
            if missing:
                yield Finding(
                    f"{table} of space {space.name}",
                    f"{missing} values of {column} name no {kind} that exists",
                    _REBUILD,
                    ForgetBuilds(space.name),
                )


def check_catalog(lake: Lake, snapshot: Snapshot) -> Iterator[Finding]:
    """Open `catalog.duckdb` as any client would."""
    remedy = f"{MEND} writes it anew, and so does {RUN}."
    path = lake.root / CATALOG_NAME
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            row = connection.execute("SELECT number, root FROM snapshot").fetchone()
            connection.execute("SELECT count(*) FROM items").fetchone()
    except duckdb.Error as error:
        reason = " ".join(str(error).split())
        yield Finding(CATALOG_NAME, f"cannot be used: {reason}", remedy, RenewCatalog())
        return
    if row != (snapshot.number, str(lake.root.absolute())):
        problem = f"shows snapshot {row[0] if row else None}, the last one is {snapshot.number}"
        yield Finding(CATALOG_NAME, problem, remedy, RenewCatalog())


def _check_version(lake: Lake, subject: str, folder: str, version: int) -> Iterator[Finding]:
    remedy = f"it cannot be read any more: 'latentlake vacuum --keep-runs N' drops it. {_RESTORE}"
    try:
        table = lake.delta(folder, version)
        paths = file_paths(table) if table else []
    except (DeltaError, OSError) as error:
        reason = " ".join(str(error).split())
        yield Finding(subject, f"version {version} cannot be opened: {reason}", remedy)
        return
    missing = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113  many paths
    if missing:
        first = os.path.basename(missing[0])  # noqa: PTH119
        yield Finding(subject, f"{len(missing)} files of it are missing, {first} first", remedy)


def _count_rows(path: str) -> int:
    with pq.ParquetFile(path) as file:
        return sum(batch.num_rows for batch in file.iter_batches())


def _embedded(lake: Lake, snapshot: Snapshot, space: SpaceId) -> Iterator[pa.Array]:
    for path in shard_paths(lake, space, snapshot):
        try:
            yield from pq.read_table(path, columns=["content_id"])["content_id"].chunks
        except (pa.ArrowException, OSError):
            continue


def _missing(
    lake: Lake, snapshot: Snapshot, column_of: tuple[str, str, str], known: pa.ChunkedArray
) -> int:
    """Count the values of (table, column, space) that are not known."""
    table, column, space = column_of
    where = pc.field("space") == space
    try:
        rows = lake.read(table, snapshot=snapshot, where=where, columns=["space", column])
    except (pa.ArrowException, OSError):
        return 0
    values = rows[column].combine_chunks()
    if pa.types.is_list(values.type):
        values = values.flatten()
    strange = pc.invert(pc.is_in(values.drop_null(), value_set=known.combine_chunks()))
    return int(pc.sum(strange).as_py() or 0)
