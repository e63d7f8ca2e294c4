"""The report `clusters`: fitted once, then extended; cluster numbers last until the next fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.result_schemas import CENTROIDS, CLUSTER_SUMMARY, CLUSTERS
from data.vectors import vectors_of
from models.analysis.clusters import (
    Assignment,
    Clusters,
    assign_clusters,
    find_clusters,
    summarise_clusters,
)
from models.indexes.results import NO_ROW
from models.types import Metric
from tasks.stages.builds import (
    BuildStep,
    Built,
    Details,
    build_if_changed,
    progress_of,
)
from tasks.stages.indexing import rows_among
from tasks.stages.terms import cluster_terms

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.types import RowIds
    from tasks.stages.receipts import StageReceipt

MOST_GROWTH: Final = 1.5
"""Rows against those of the fit, or the other way round."""
MOST_DRIFT: Final = 1.1
"""Mean distance to the own centroid, against that at the fit."""
_REVISION = 3
"""Raise it when the same vectors should get another report."""


@dataclass(frozen=True, slots=True)
class _Report:
    """Clusters with their terms, and what they go back to."""

    found: Clusters
    terms: pa.Array
    fitted_rows: int
    fitted_distance: float
    update: str


def cluster_contents(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Assign new contents to the stored centroids, or fit them anew with a reason."""
    name, seed = space.key, settings.run.seed
    wanted = settings.space(space.id.name).clusters
    step = BuildStep("clusters", space, {"clusters": wanted, "seed": seed, "revision": _REVISION})

    def work(last: Details | None) -> Built:
        report = _assigned(lake, space, vectors, last)
        if isinstance(report, str):
            found = find_clusters(
                vectors,
                Metric(space.id.metric),
                None if wanted == "auto" else wanted,
                seed,
                progress_of("clusters", space),
            )
            words = cluster_terms(lake, settings, space, vectors, found.cluster_of)
            terms = pa.array(words, pa.list_(pa.string()))
            report = _Report(found, terms, vectors.rows, _mean_distance(found), report)
            lake.replace_space("centroids", name, _centroids(name, found), run_id)
        lake.replace_space("clusters", name, _rows(name, vectors, report.found), run_id)
        lake.replace_space("cluster_summary", name, _summary(name, vectors, report), run_id)
        details: dict[str, Any] = {
            "fitted_rows": report.fitted_rows,
            "fitted_distance": report.fitted_distance,
            "update": report.update,
        }
        return Built({"clusters": report.found.count}, details, (report.update,) if last else ())

    return build_if_changed(lake, step, vectors, run_id, work)


def _assigned(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, details: Details | None
) -> _Report | str:
    """Assign new rows to the stored centroids; or say why they have to be fitted."""
    if details is None:
        return "fitted: the first of these settings"
    fitted_rows, rows = details["fitted_rows"], vectors.rows
    if max(fitted_rows, rows) > MOST_GROWTH * min(fitted_rows, rows):
        return f"fitted: {rows:,} rows, {fitted_rows:,} at the last fit"
    here = pc.field("space") == space.key
    stored = lake.read("centroids", where=here).sort_by("cluster_id")
    summary = lake.read("cluster_summary", where=here).sort_by("cluster_id")
    if stored.num_rows == 0 or stored.num_rows != summary.num_rows:
        return "fitted: there were no centroids"
    centroids = vectors_of(stored["centroid"].combine_chunks(), vectors.dim)
    assigned, fresh = _carried(lake.read("clusters", where=here), vectors)
    added = assign_clusters(vectors.subset(fresh), Metric(space.id.metric), centroids)
    assigned.cluster_of[fresh] = added.cluster_of
    assigned.distances[fresh] = added.distances
    assigned.silhouettes[fresh] = added.silhouettes
    if not np.bincount(assigned.cluster_of, minlength=centroids.shape[0]).all():
        return "fitted: a cluster had lost all its rows"
    found = summarise_clusters(assigned, centroids)
    distance, fitted = _mean_distance(found), details["fitted_distance"]
    if distance > MOST_DRIFT * fitted:
        return f"fitted: mean distance {distance:.4f}, {fitted:.4f} before"
    terms = summary["terms"].combine_chunks()
    update = f"assigned: {fresh.size:,} new, mean distance {distance:.4f}"
    return _Report(found, terms, fitted_rows, fitted, update)


def _carried(stored: pa.Table, vectors: ShardVectors) -> tuple[Assignment, RowIds]:
    """Lay stored assignments into the row order of these vectors; also return the rows without."""
    rows = rows_among(stored["content_id"], vectors.content_ids)
    alive = rows != NO_ROW
    assigned = Assignment(
        np.full(vectors.rows, NO_ROW, np.int64),
        np.zeros(vectors.rows, np.float32),
        np.zeros(vectors.rows, np.float32),
    )
    assigned.cluster_of[rows[alive]] = stored["cluster_id"].to_numpy()[alive]
    assigned.distances[rows[alive]] = stored["distance"].to_numpy()[alive]
    assigned.silhouettes[rows[alive]] = stored["silhouette"].to_numpy()[alive]
    return assigned, np.flatnonzero(assigned.cluster_of == NO_ROW).astype(np.int64)


def _mean_distance(found: Clusters) -> float:
    return float(found.distances.mean(dtype=np.float64)) if found.distances.size else 0.0


def _rows(name: str, vectors: ShardVectors, found: Clusters) -> pa.Table:
    medoid = np.zeros(vectors.rows, bool)
    medoid[found.medoids] = True
    columns = [
        pa.array(np.full(vectors.rows, name), pa.string()),
        vectors.content_ids,
        pa.array(found.cluster_of, pa.int32()),
        pa.array(found.distances, pa.float32()),
        pa.array(found.silhouettes, pa.float32()),
        pa.array(medoid),
    ]
    return pa.Table.from_arrays(columns, schema=CLUSTERS.columns)


def _summary(name: str, vectors: ShardVectors, report: _Report) -> pa.Table:
    found = report.found
    columns = [
        pa.array(np.full(found.count, name), pa.string()),
        pa.array(np.arange(found.count), pa.int32()),
        pa.array(found.sizes, pa.int64()),
        vectors.content_ids.take(pa.array(found.medoids)),
        pa.array(found.qualities, pa.float32()),
        report.terms,
    ]
    return pa.Table.from_arrays(columns, CLUSTER_SUMMARY.columns.names)


def _centroids(name: str, found: Clusters) -> pa.Table:
    columns = [
        pa.array(np.full(found.count, name), pa.string()),
        pa.array(np.arange(found.count), pa.int32()),
        pa.array(list(found.centroids), pa.list_(pa.float32())),
    ]
    return pa.Table.from_arrays(columns, schema=CENTROIDS.columns)
