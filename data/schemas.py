"""The Arrow schema of every table of the lake, and the key that makes a row one row."""

from __future__ import annotations

import pyarrow as pa

from data.result_schemas import RESULTS
from data.table_schema import TableSchema

SCHEMA_VERSION = 5
"""The layout of tables and snapshots together. Raise it with a migration from the version before in
`data.maintenance.migrating`, never without one."""

SHARD_VERSION = 1
"""The layout of shards, in their footers: a new column in a table is no reason to write them anew.
Raise it with SCHEMA_VERSION, whose migration then gives new footers."""

_TIME = pa.timestamp("us", tz="UTC")


ITEMS = TableSchema(
    "items",
    pa.schema(
        [
            ("item_id", pa.string()),
            ("source", pa.string()),
            ("uri", pa.string()),
            ("file", pa.string()),
            ("key", pa.string()),
            ("position", pa.int64()),
            ("modality", pa.string()),
            ("content_id", pa.string()),
            ("size_bytes", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("text_length", pa.int32()),
            ("excerpt", pa.string()),
            ("modified_at", _TIME),
            ("metadata", pa.string()),
            ("previous_uri", pa.string()),
            ("first_run", pa.string()),
            ("last_run", pa.string()),
            ("deleted", pa.bool_()),
        ]
    ),
    key=("item_id",),
    kept=("first_run",),
)

FILES = TableSchema(
    "files",
    pa.schema(
        [
            ("source", pa.string()),
            ("file", pa.string()),
            ("size_bytes", pa.int64()),
            ("modified_ns", pa.int64()),
            ("etag", pa.string()),
            ("scanned_ns", pa.int64()),
            ("reader", pa.string()),
            ("items", pa.int64()),
            ("quarantined", pa.int64()),
        ]
    ),
    key=("source", "file"),
)

QUARANTINE = TableSchema(
    "quarantine",
    pa.schema(
        [
            ("quarantine_id", pa.string()),
            ("source", pa.string()),
            ("uri", pa.string()),
            ("file", pa.string()),
            ("space", pa.string()),
            ("content_id", pa.string()),
            ("stage", pa.string()),
            ("error", pa.string()),
            ("message", pa.string()),
            ("size_bytes", pa.int64()),
            ("code", pa.string()),
            ("run_id", pa.string()),
            ("recorded_at", _TIME),
        ]
    ),
    key=("quarantine_id",),
)

SPACES = TableSchema(
    "spaces",
    pa.schema(
        [
            ("space", pa.string()),
            ("fingerprint", pa.string()),
            ("encoder", pa.string()),
            ("options", pa.string()),
            ("recipe", pa.string()),
            ("modality", pa.string()),
            ("dim", pa.int32()),
            ("metric", pa.string()),
            ("artefact", pa.string()),
            ("details", pa.string()),
            ("key", pa.string()),
            ("is_current", pa.bool_()),
            ("is_waiting", pa.bool_()),
            ("run_id", pa.string()),
            ("recorded_at", _TIME),
        ]
    ),
    key=("space", "fingerprint"),
    is_small=True,
)

BUILDS = TableSchema(
    "builds",
    pa.schema(
        [
            ("space", pa.string()),
            ("stage", pa.string()),
            ("inputs", pa.string()),
            ("fingerprint", pa.string()),
            ("rows", pa.int64()),
            ("seconds", pa.float64()),
            ("details", pa.string()),
            ("run_id", pa.string()),
            ("recorded_at", _TIME),
        ]
    ),
    key=("space", "stage"),
    is_small=True,
)

RUNS = TableSchema(
    "runs",
    pa.schema(
        [
            ("run_id", pa.string()),
            ("command", pa.string()),
            ("started_at", _TIME),
            ("finished_at", _TIME),
            ("config_hash", pa.string()),
            ("versions", pa.string()),
            ("counts", pa.string()),
            ("seconds", pa.string()),
            ("peak_memory_bytes", pa.int64()),
            ("parent_snapshot", pa.int64()),
        ]
    ),
    key=("run_id",),
)

WORDINGS = TableSchema(
    "wordings",
    pa.schema(
        [
            ("content_id", pa.string()),
            ("rules", pa.string()),
            ("normalised", pa.string()),
            ("bands", pa.binary()),
            ("shingles", pa.binary()),
        ]
    ),
    key=("content_id",),
)

PIXELS = TableSchema(
    "pixels",
    pa.schema([("content_id", pa.string()), ("rules", pa.string()), ("digest", pa.string())]),
    key=("content_id",),
)

VOCABULARY = TableSchema(
    "vocabulary",
    pa.schema(
        [
            ("space", pa.string()),
            ("content_id", pa.string()),
            ("word", pa.string()),
            ("count", pa.int64()),
            ("rank", pa.int64()),
        ]
    ),
    key=("space", "content_id"),
    per_space=True,
)

TABLES: dict[str, TableSchema] = {
    table.name: table
    for table in (
        ITEMS,
        FILES,
        QUARANTINE,
        WORDINGS,
        PIXELS,
        SPACES,
        VOCABULARY,
        BUILDS,
        *RESULTS,
        RUNS,
    )
}
JSON_COLUMNS = frozenset({"metadata", "details", "options", "versions", "counts", "seconds"})
"""String columns that hold JSON; the views cast those of type string to DuckDB's JSON."""


def embedding_schema(dim: int) -> pa.Schema:
    """Return the columns of one space's shards: vectors are `fixed_size_list<float32>[dim]`."""
    return pa.schema(
        [
            ("content_id", pa.string()),
            ("vector", pa.list_(pa.field("element", pa.float32(), nullable=False), dim)),
            ("norm", pa.float32()),
        ]
    )
