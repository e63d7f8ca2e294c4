"""Checks of snapshots, row tables and the catalog, and that references between tables hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from data.catalog import CATALOG_NAME, SpaceRow
from data.commits import file_names, file_paths
from data.maintenance.findings import MEND, RUN, Finding, ForgetBuilds, RenewCatalog
from data.schemas import SCHEMA_VERSION, TABLES
from data.shards import shard_paths
from data.stores import is_remote, readable
from data.versions import described_version
from latentlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake, Snapshot
    from data.shards import SpaceId

_RESTORE: Final = "'latentlake restore NUMBER' with a sound snapshot makes that one current."
_REBUILD: Final = f"{MEND} forgets what was built, then {RUN} builds it again."

_UNREADABLE: Final = (
    f"it cannot be read any more: 'latentlake vacuum --keep-runs N' drops it. {_RESTORE}"
)

_REFERENCES: Final = {
    "pairs": (("first", "content"), ("second", "content")),
    "verified_pairs": (("first", "content"), ("second", "content")),
    "paired": (("content_id", "content"),),
    "lexical_pairs": (("first", "content"), ("second", "content")),
    "lexical_paired": (("content_id", "content"),),
    "neighbours": (("content_id", "content"), ("neighbours", "content")),
    "clusters": (("content_id", "content"),),
    "cluster_summary": (("medoid", "content"),),
    "anomalies": (("content_id", "content"), ("normal_neighbours", "content")),
    "duplicates": (("item_id", "item"), ("twin_id", "item")),
}
"""Columns that name contents or items, by table."""


def check_snapshots(lake: Lake) -> Iterator[Finding]:
    """Parse every snapshot, and look whether its versions and their files are there."""
    held: dict[str, set[str]] = {}
    for number in lake.snapshots():
        subject = f"snapshot {number}"
        try:
            snapshot = lake.any_snapshot(number)
        except LakeError as error:
            yield Finding(subject, str(error), f"remove the file; {_RESTORE}")
            continue
        for folder, version in snapshot.versions.items():
            if folder not in held:
                held[folder] = {found.name for found in lake.store.files(folder)}
            missing = _missing_files(lake, folder, version, held[folder])
            if missing is not None:
                yield Finding(f"{subject}, {folder}", missing, _UNREADABLE)


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


def check_references(lake: Lake, snapshot: Snapshot, space: SpaceRow) -> Iterator[Finding]:
    """Look whether the reports of a space refer to contents and items that there are.

    A report may be older than the items: a content counts that an item points to or that has a
    vector. What cannot be read is passed over here; the other checks say so.
    """
    try:
        items = lake.read("items", snapshot=snapshot, columns=["item_id", "content_id"])
    except (pa.ArrowException, OSError):
        return
    contents = [*items["content_id"].chunks, *_embedded(lake, snapshot, space.id)]
    known = {"item": items["item_id"], "content": pa.chunked_array(contents, pa.string())}
    for table, columns in _REFERENCES.items():
        for column, kind in columns:
            missing = _missing(lake, snapshot, (table, column, space.key), known[kind])
            if missing:
                yield Finding(
                    f"{table} of space {space.label}",
                    f"{missing} values of {column} name no {kind} that exists",
                    _REBUILD,
                    ForgetBuilds(space.key),
                )


def check_catalog(lake: Lake, snapshot: Snapshot) -> Iterator[Finding]:
    """Open `catalog.duckdb` as any client would."""
    remedy = f"{MEND} writes it anew, and so does {RUN}."
    try:
        with (
            lake.store.reading(CATALOG_NAME) as path,
            duckdb.connect(str(path), read_only=True) as connection,
        ):
            row = connection.execute("SELECT number, root FROM snapshot").fetchone()
            if not is_remote(lake.uri):  # there a client needs an extension, which may be missing
                connection.execute("SELECT count(*) FROM items").fetchone()
    except (duckdb.Error, OSError) as error:
        reason = " ".join(str(error).split())
        yield Finding(CATALOG_NAME, f"cannot be used: {reason}", remedy, RenewCatalog())
        return
    if row != (snapshot.number, lake.uri):
        problem = f"shows snapshot {row[0] if row else None}, the last one is {snapshot.number}"
        yield Finding(CATALOG_NAME, problem, remedy, RenewCatalog())


def _missing_files(lake: Lake, folder: str, version: int, held: set[str]) -> str | None:
    """Say what a version of a table lacks of the files that are held, or None."""
    try:
        table = lake.delta(folder, version)
        names = file_names(table) if table else []
    except (DeltaError, OSError) as error:
        reason = " ".join(str(error).split())
        return f"version {version} cannot be opened: {reason}"
    missing = [name for name in names if f"{folder}/{name}" not in held]
    if not missing:
        return None
    return f"{len(missing)} files of it are missing, {missing[0].rpartition('/')[2]} first"


def _count_rows(path: str) -> int:
    with pq.ParquetFile(readable(path)) as file:
        return sum(batch.num_rows for batch in file.iter_batches())


def _embedded(lake: Lake, snapshot: Snapshot, space: SpaceId) -> Iterator[pa.Array]:
    for path in shard_paths(lake, space, snapshot):
        try:
            yield from pq.read_table(readable(path), columns=["content_id"])["content_id"].chunks
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
