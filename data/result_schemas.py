"""The tables of what was computed, partitioned by space, and of what that is extended from."""

from __future__ import annotations

import pyarrow as pa

from data.table_schema import TableSchema

_STRINGS = pa.list_(pa.string())
_FLOATS = pa.list_(pa.float32())

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

PAIRS = TableSchema(
    "pairs",
    pa.schema(
        [
            ("space", pa.string()),
            ("first", pa.string()),
            ("second", pa.string()),
            ("similarity", pa.float32()),
        ]
    ),
    key=("space", "first", "second"),
    per_space=True,
)

PAIRED = TableSchema(
    "paired",
    pa.schema([("space", pa.string()), ("content_id", pa.string())]),
    key=("space", "content_id"),
    per_space=True,
)

VERIFIED_PAIRS = TableSchema(
    "verified_pairs",
    pa.schema(
        [
            ("space", pa.string()),
            ("first", pa.string()),
            ("second", pa.string()),
            ("similarity", pa.float32()),
            ("inliers", pa.int32()),
            ("correlation", pa.float32()),
        ]
    ),
    key=("space", "first", "second"),
    per_space=True,
)

LEXICAL_PAIRS = TableSchema(
    "lexical_pairs",
    pa.schema(
        [
            ("space", pa.string()),
            ("first", pa.string()),
            ("second", pa.string()),
            ("kind", pa.string()),
            ("similarity", pa.float32()),
        ]
    ),
    key=("space", "first", "second"),
    per_space=True,
)

LEXICAL_PAIRED = TableSchema(
    "lexical_paired",
    pa.schema([("space", pa.string()), ("content_id", pa.string())]),
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
            ("score", pa.float32()),
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
            ("silhouette", pa.float32()),
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

CENTROIDS = TableSchema(
    "centroids",
    pa.schema([("space", pa.string()), ("cluster_id", pa.int32()), ("centroid", _FLOATS)]),
    key=("space", "cluster_id"),
    per_space=True,
)

DETECTOR_FITS = TableSchema(
    "detector_fits",
    pa.schema(
        [
            ("space", pa.string()),
            ("detector", pa.string()),
            ("component", pa.int32()),
            ("coefficients", pa.list_(pa.float64())),
        ]
    ),
    key=("space", "detector", "component"),
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

RESULTS = (
    NEIGHBOURS,
    PAIRS,
    PAIRED,
    VERIFIED_PAIRS,
    LEXICAL_PAIRS,
    LEXICAL_PAIRED,
    DUPLICATES,
    CLUSTERS,
    CLUSTER_SUMMARY,
    CENTROIDS,
    DETECTOR_FITS,
    ANOMALIES,
)
