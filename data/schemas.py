"""The Arrow schema of every table of the lake, and the key that makes a row one row."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

SCHEMA_VERSION = 2
"""The layout of tables and snapshots together. Raise it with a migration from the version before in
`data.maintenance.migrating`, never without one."""

SHARD_VERSION = 1
"""The layout of shards, in their footers: a new column in a table is no reason to write them anew.
Raise it with SCHEMA_VERSION, whose migration then gives new footers."""

_STRINGS = pa.list_(pa.string())
_FLOATS = pa.list_(pa.float32())
_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A Delta table of the lake.

    Attributes:
        name: its folder and its view.
        columns: the Arrow schema.
        key: the columns that tell rows apart.
        per_space: whether it is partitioned by the column `space`, each space replaced as a whole.
        kept: columns that an update of a known row leaves as they were.
    """

    name: str
    columns: pa.Schema
    key: tuple[str, ...]
    per_space: bool = False
    kept: tuple[str, ...] = field(default=())


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
            ("is_current", pa.bool_()),
            ("run_id", pa.string()),
            ("recorded_at", _TIME),
        ]
    ),
    key=("space", "fingerprint"),
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
)

NEIGHBOURS = TableSchema(
    "neighbours",
    pa.schema(
        [
            ("space", pa.string()),
            ("content_id", pa.string()),
            ("neighbours", _STRINGS),
            ("similarities", _FLOATS),
        ]
    ),
    key=("space", "content_id"),
    per_space=True,
)

DUPLICATES = TableSchema(
    "duplicates",
    pa.schema(
        [
            ("space", pa.string()),
            ("item_id", pa.string()),
            ("twin_id", pa.string()),
            ("group_id", pa.string()),
            ("kind", pa.string()),
            ("similarity", pa.float32()),
            ("rule", pa.string()),
            ("threshold", pa.float32()),
            ("run_id", pa.string()),
        ]
    ),
    key=("space", "item_id"),
    per_space=True,
)

CLUSTERS = TableSchema(
    "clusters",
    pa.schema(
        [
            ("space", pa.string()),
            ("content_id", pa.string()),
            ("cluster_id", pa.int32()),
            ("distance", pa.float32()),
            ("is_medoid", pa.bool_()),
        ]
    ),
    key=("space", "content_id"),
    per_space=True,
)

CLUSTER_SUMMARY = TableSchema(
    "cluster_summary",
    pa.schema(
        [
            ("space", pa.string()),
            ("cluster_id", pa.int32()),
            ("size", pa.int64()),
            ("medoid", pa.string()),
            ("quality", pa.float32()),
            ("terms", _STRINGS),
        ]
    ),
    key=("space", "cluster_id"),
    per_space=True,
)

ANOMALIES = TableSchema(
    "anomalies",
    pa.schema(
        [
            ("space", pa.string()),
            ("content_id", pa.string()),
            ("knn_distance", pa.float32()),
            ("knn_percentile", pa.float32()),
            ("mahalanobis", pa.float32()),
            ("mahalanobis_percentile", pa.float32()),
            ("percentile", pa.float32()),
            ("rank", pa.int64()),
            ("normal_neighbours", _STRINGS),
        ]
    ),
    key=("space", "content_id"),
    per_space=True,
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

TABLES: dict[str, TableSchema] = {
    table.name: table
    for table in (
        ITEMS,
        FILES,
        QUARANTINE,
        SPACES,
        BUILDS,
        NEIGHBOURS,
        DUPLICATES,
        CLUSTERS,
        CLUSTER_SUMMARY,
        ANOMALIES,
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
