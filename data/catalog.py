"""The lake in SQL: one view a table and a space, over the files of one snapshot.

The same statements make `catalog.duckdb`, which any DuckDB client opens with no extension, and the
in-memory connection that the commands read through.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from data.databases import database, fresh_database
from data.schemas import JSON_COLUMNS, TABLES, embedding_schema
from data.shards import SpaceId, shard_paths
from data.stores import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake, Snapshot
    from data.table_schema import TableSchema

logger = logging.getLogger(__name__)
CATALOG_NAME = "catalog.duckdb"
_STORAGE_VERSION = "v1.2.0"
"""The file format that DuckDB 1.2 and everything after it reads."""

_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
    pa.list_(pa.string()): "VARCHAR[]",
    pa.list_(pa.float32()): "FLOAT[]",
    pa.list_(pa.float64()): "DOUBLE[]",
}


@dataclass(frozen=True, slots=True)
class SpaceRow:
    """A space as the table `spaces` has it.

    Attributes:
        id: name, fingerprint, dimension and metric.
        encoder: the registered encoder's name.
        options: its options as canonical JSON.
        recipe: the encoder's code and weight versions when the space was made.
        modality: "image", "text" or "vector" as its items are, "word" where it is a vocabulary.
        artefact: the trained model's folder under the root, or None.
        key: what its rows in the tables of results are filed under.
        is_current: whether it is what readers see under the space's name.
        is_waiting: whether it is being filled, or is filled, to become the current one.
        details: what the encoder said of itself, as JSON.
        run_id: the run that made it.
    """

    id: SpaceId
    encoder: str
    options: str
    recipe: str
    modality: str
    artefact: str | None
    key: str
    is_current: bool = True
    is_waiting: bool = False
    details: str = "{}"
    run_id: str = ""

    @property
    def version(self) -> str:
        """The name that means this version and no other: `name@fingerprint`."""
        return f"{self.id.name}@{self.id.fingerprint}"

    @property
    def label(self) -> str:
        """The name for a person: plain for the current version, else with what tells it apart."""
        return self.id.name if self.is_current else f"{self.id.name}@{self.id.fingerprint[:8]}"

    @property
    def is_vocabulary(self) -> bool:
        """Whether its contents are the words of the table `vocabulary`, and not of items."""
        return self.modality == "word"


def version_key(name: str, fingerprint: str) -> str:
    """Return the key of a version that was not the first of its name; no name has a hyphen."""
    return f"{name}-{fingerprint}"


def space_versions(
    lake: Lake, name: str | None = None, snapshot: Snapshot | None = None
) -> list[SpaceRow]:
    """Return all versions of a space, or of all spaces by name.

    Of each the current one goes first, then the waiting one, then the youngest.
    """
    rows = lake.read("spaces", snapshot=snapshot).to_pylist()
    rows.sort(key=lambda row: (row["run_id"] or "", row["fingerprint"]), reverse=True)
    rows.sort(key=lambda row: (row["space"], not row["is_current"], not row["is_waiting"]))
    return [
        SpaceRow(
            SpaceId(row["space"], row["fingerprint"], row["dim"], row["metric"]),
            row["encoder"],
            row["options"],
            row["recipe"],
            row["modality"],
            row["artefact"],
            row["key"] or row["space"],
            bool(row["is_current"]),
            bool(row["is_waiting"]),
            row["details"] or "{}",
            row["run_id"] or "",
        )
        for row in rows
        if name is None or row["space"] == name
    ]


def current_spaces(lake: Lake, snapshot: Snapshot | None = None) -> dict[str, SpaceRow]:
    """Return the current space of every name."""
    versions = space_versions(lake, snapshot=snapshot)
    return {space.id.name: space for space in versions if space.is_current}


def connect(lake: Lake, snapshot: Snapshot | None = None) -> duckdb.DuckDBPyConnection:
    """Open an in-memory connection with all views over one snapshot; by default the last.

    The connection can read the lake and nothing else: no other files, no extensions, and its
    configuration is locked.

    Raises:
        LakeNotFoundError: nothing has been committed yet.
    """
    snapshot = snapshot or lake.snapshot()
    connection = duckdb.connect()
    if is_remote(lake.uri):
        from data.stores.sql import ReadOnlyS3

        connection.register_filesystem(ReadOnlyS3(lake.uri))
    for statement in statements(lake, snapshot):
        connection.execute(statement)
    lock(connection, lake)
    return connection


def lock(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Take from a connection everything but reading the lake."""
    allowed = _text(f"{lake.uri}/")
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def write_catalog(lake: Lake, snapshot: Snapshot) -> str:
    """Write `catalog.duckdb` for a snapshot, atomically.

    On S3 its views name `s3://` URLs: a client reads them with DuckDB's extension httpfs.

    Returns:
        The file's address.
    """
    with lake.store.writing(CATALOG_NAME, "catalog") as temporary:
        with fresh_database({}) if is_remote(lake.uri) else database() as connection:
            if is_remote(lake.uri):
                from data.stores.sql import SchemasOnly

                connection.register_filesystem(SchemasOnly(lake.uri, _schemas(lake, snapshot)))
            place = _text(str(temporary))
            connection.execute(f"ATTACH {place} AS built (STORAGE_VERSION '{_STORAGE_VERSION}')")
            connection.execute("USE built")
            connection.execute("BEGIN")  # one commit, not one a view
            for statement in statements(lake, snapshot):
                connection.execute(statement)
            connection.execute("COMMIT")
            connection.execute("USE memory")
            connection.execute("DETACH built")
        temporary.with_name(f"{temporary.name}.wal").unlink(missing_ok=True)
    return lake.store.address(CATALOG_NAME)


def _schemas(lake: Lake, snapshot: Snapshot) -> dict[str, pa.Schema]:
    """Return the columns in the files of every table, by its folder."""
    schemas = {
        f"tables/{name}": pa.schema(
            field for field in table.columns if not (table.per_space and field.name == "space")
        )
        for name, table in TABLES.items()
    }
    spaces = current_spaces(lake, snapshot).values()
    return schemas | {space.id.folder: embedding_schema(space.id.dim) for space in spaces}


def statements(lake: Lake, snapshot: Snapshot) -> Iterator[str]:
    """Yield the statements that make all views and macros over one snapshot."""
    yield (
        f"CREATE TABLE snapshot AS SELECT {snapshot.number} AS number, "
        f"{_text(snapshot.run_id)} AS run_id, {_text(snapshot.at)}::TIMESTAMPTZ AS recorded_at, "
        f"{_text(lake.uri)} AS root"
    )
    versions = space_versions(lake, snapshot=snapshot)
    current = [space for space in versions if space.is_current]
    for name, table in TABLES.items():
        view, files = "all_items" if name == "items" else name, lake.files(name, snapshot)
        select = (
            _select_results(table, files, current) if table.per_space else _select(table, files)
        )
        yield f"CREATE VIEW {view} AS {_labelled(name, select, versions)}"
    for space in current:
        yield _embeddings_view(space, shard_paths(lake, space.id, snapshot))
    sql = resources("data.sql").joinpath("views.sql").read_text("utf-8")
    yield from (part.strip() for part in sql.split(";\n") if part.strip())


def _select(table: TableSchema, paths: list[str]) -> str:
    columns = ", ".join(
        f'"{field.name}"::{_sql_type(field)} AS "{field.name}"' for field in table.columns
    )
    if paths:
        return f"SELECT {columns} FROM read_parquet({_list(paths)})"
    nothing = ", ".join(f'NULL AS "{name}"' for name in table.columns.names)
    return f"SELECT {columns} FROM (SELECT {nothing}) WHERE false"


def _select_results(table: TableSchema, paths: list[str], current: list[SpaceRow]) -> str:
    """Select the rows of the current versions, each under its space's name."""
    parts = []
    for space in current:
        own = [path for path in paths if f"/space={space.key}/" in path]
        columns = ", ".join(
            f"{_text(space.id.name)} AS space"
            if field.name == "space"
            else f'"{field.name}"::{_sql_type(field)} AS "{field.name}"'
            for field in table.columns
        )
        if own:
            parts.append(
                f"SELECT {columns} FROM read_parquet({_list(own)}, hive_partitioning = false)"
            )
    return " UNION ALL ".join(parts) or _select(table, [])


def _labelled(name: str, select: str, versions: list[SpaceRow]) -> str:
    """Call each version by the name that means it, where a table has rows of several."""
    if name not in ("builds", "quarantine"):
        return select
    names = {space.key: space.id.name if space.is_current else space.version for space in versions}
    if all(key == shown for key, shown in names.items()):
        return select
    cases = " ".join(f"WHEN {_text(key)} THEN {_text(shown)}" for key, shown in names.items())
    called = f"SELECT * REPLACE (CASE space {cases} ELSE space END AS space) FROM ({select})"
    past = [space.key for space in versions if not (space.is_current or space.is_waiting)]
    if name == "quarantine" and past:  # what a former version refused is nobody's loss any more
        called += f" WHERE space IS NULL OR space NOT IN ({', '.join(map(_text, past))})"
    return called


def _embeddings_view(space: SpaceRow, paths: list[str]) -> str:
    name, dim = space.id.name, space.id.dim
    names = embedding_schema(dim).names
    vector = f"vector::FLOAT[{dim}] AS vector"
    columns = ", ".join(vector if column == "vector" else column for column in names)
    contents = "all_items WHERE NOT deleted"
    if space.is_vocabulary:
        contents = f"vocabulary WHERE space = {_text(name)}"
    if paths:
        source = (
            f"read_parquet({_list(paths)}) WHERE content_id IN (SELECT content_id FROM {contents})"
        )
    else:
        source = (
            "(SELECT NULL::VARCHAR AS content_id, NULL::FLOAT[] AS vector, NULL::FLOAT AS norm) "
            "WHERE false"
        )
    return f"CREATE VIEW embeddings_{name} AS SELECT {columns} FROM {source}"


def _sql_type(field: pa.Field) -> str:
    if field.name in JSON_COLUMNS and field.type == pa.string():
        return "JSON"
    return _SQL_TYPES[field.type]


def _list(paths: list[str]) -> str:
    return "[" + ", ".join(_text(path) for path in paths) + "]"


def _text(value: str) -> str:
    """Quote a value as an SQL string."""
    return "'" + value.replace("'", "''") + "'"
