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
        modality: "image", "text" or "vector".
        artefact: the trained model's folder under the root, or None.
    """

    id: SpaceId
    encoder: str
    options: str
    recipe: str
    modality: str
    artefact: str | None


def current_spaces(lake: Lake, snapshot: Snapshot | None = None) -> dict[str, SpaceRow]:
    """Return the current space of every name."""
    rows = lake.read("spaces", snapshot=snapshot).to_pylist()
    return {
        row["space"]: SpaceRow(
            SpaceId(row["space"], row["fingerprint"], row["dim"], row["metric"]),
            row["encoder"],
            row["options"],
            row["recipe"],
            row["modality"],
            row["artefact"],
        )
        for row in sorted(rows, key=lambda row: row["space"])
        if row["is_current"]
    }


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
        with duckdb.connect() as connection:
            if is_remote(lake.uri):
                from data.stores.sql import SchemasOnly

                connection.register_filesystem(SchemasOnly(lake.uri, _schemas(lake, snapshot)))
            place = _text(str(temporary))
            connection.execute(f"ATTACH {place} AS built (STORAGE_VERSION '{_STORAGE_VERSION}')")
            connection.execute("USE built")
            for statement in statements(lake, snapshot):
                connection.execute(statement)
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
    for name, table in TABLES.items():
        view = "all_items" if name == "items" else name
        yield f"CREATE VIEW {view} AS {_select(table, lake.files(name, snapshot))}"
    for space in current_spaces(lake, snapshot).values():
        yield _embeddings_view(space.id, shard_paths(lake, space.id, snapshot))
    sql = resources("data.sql").joinpath("views.sql").read_text("utf-8")
    yield from (part.strip() for part in sql.split(";\n") if part.strip())


def _select(table: TableSchema, paths: list[str]) -> str:
    columns = ", ".join(
        f'"{field.name}"::{_sql_type(field)} AS "{field.name}"' for field in table.columns
    )
    if paths:
        hive = ", hive_partitioning = true, hive_types = {'space': VARCHAR}"
        options = hive if table.per_space else ""
        return f"SELECT {columns} FROM read_parquet({_list(paths)}{options})"
    nothing = ", ".join(f'NULL AS "{name}"' for name in table.columns.names)
    return f"SELECT {columns} FROM (SELECT {nothing}) WHERE false"


def _embeddings_view(space: SpaceId, paths: list[str]) -> str:
    names = embedding_schema(space.dim).names
    vector = f"vector::FLOAT[{space.dim}] AS vector"
    columns = ", ".join(vector if name == "vector" else name for name in names)
    if paths:
        source = (
            f"read_parquet({_list(paths)}) WHERE content_id IN "
            "(SELECT content_id FROM all_items WHERE NOT deleted)"
        )
    else:
        source = (
            "(SELECT NULL::VARCHAR AS content_id, NULL::FLOAT[] AS vector, NULL::FLOAT AS norm) "
            "WHERE false"
        )
    return f"CREATE VIEW embeddings_{space.name} AS SELECT {columns} FROM {source}"


def _sql_type(field: pa.Field) -> str:
    if field.name in JSON_COLUMNS and field.type == pa.string():
        return "JSON"
    return _SQL_TYPES[field.type]


def _list(paths: list[str]) -> str:
    return "[" + ", ".join(_text(path) for path in paths) + "]"


def _text(value: str) -> str:
    """Quote a value as an SQL string."""
    return "'" + value.replace("'", "''") + "'"
