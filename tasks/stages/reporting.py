"""The reports of a space: what they depend on, and the rows they write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from data.schemas import ANOMALIES, CLUSTER_SUMMARY, CLUSTERS
from models.analysis.anomalies import find_anomalies
from models.analysis.clusters import find_clusters
from models.indexes.results import NO_ROW
from models.types import Metric
from tasks.stages.builds import BuildStep, Built, build_if_changed, progress_of
from tasks.stages.deduplicating import find_duplicates
from tasks.stages.neighbours import stored_graph
from tasks.stages.spaces import require_space, space_vectors
from tasks.stages.terms import cluster_terms

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

_REVISION = 1
"""Raise it when the same vectors should get another report."""


def report_space(
    lake: Lake,
    settings: Settings,
    name: str,
    report: Literal["duplicates", "clusters", "anomalies"],
    run_id: str,
) -> StageReceipt:
    """Recompute one report of one space if what it depends on has changed."""
    space = require_space(lake, settings, name)
    vectors = space_vectors(lake, settings, space)
    match report:
        case "duplicates":
            return find_duplicates(lake, settings, space, vectors, run_id)
        case "clusters":
            return _clusters(lake, settings, space, vectors, run_id)
        case "anomalies":
            return _anomalies(lake, settings, space, vectors, run_id)


def _clusters(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    name, seed = space.id.name, settings.run.seed
    wanted = settings.space(name).clusters
    step = BuildStep("clusters", space, {"clusters": wanted, "seed": seed, "revision": _REVISION})

    def work() -> Built:
        found = find_clusters(
            vectors,
            Metric(space.id.metric),
            None if wanted == "auto" else wanted,
            seed,
            progress_of("clusters", space),
        )
        medoid = np.zeros(vectors.rows, bool)
        medoid[found.medoids] = True
        rows = [
            pa.array([name] * vectors.rows, pa.string()),
            vectors.content_ids,
            pa.array(found.cluster_of, pa.int32()),
            pa.array(found.distances, pa.float32()),
            pa.array(medoid),
        ]
        summary = [
            pa.array([name] * found.count, pa.string()),
            pa.array(np.arange(found.count), pa.int32()),
            pa.array(found.sizes, pa.int64()),
            vectors.content_ids.take(pa.array(found.medoids)),
            pa.array(found.qualities, pa.float32()),
            pa.array(
                cluster_terms(lake, settings, space, vectors, found.cluster_of),
                pa.list_(pa.string()),
            ),
        ]
        names = CLUSTERS.columns.names, CLUSTER_SUMMARY.columns.names
        lake.replace_space("clusters", name, pa.Table.from_arrays(rows, names[0]), run_id)
        lake.replace_space("cluster_summary", name, pa.Table.from_arrays(summary, names[1]), run_id)
        return Built({"clusters": found.count})

    return build_if_changed(lake, step, vectors, run_id, work)


def _anomalies(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    name = space.id.name
    k = settings.space(name).neighbours
    step = BuildStep("anomalies", space, {"k": k, "revision": _REVISION})

    def work() -> Built:
        found = find_anomalies(vectors, stored_graph(lake, space, vectors))
        knn, mahalanobis = found.detectors
        named = found.normal_neighbours != NO_ROW
        offsets = pa.array(np.concatenate(([0], np.cumsum(named.sum(axis=1)))).astype(np.int32))
        neighbours = vectors.content_ids.take(pa.array(found.normal_neighbours[named]))
        columns = [
            pa.array([name] * vectors.rows, pa.string()),
            vectors.content_ids,
            pa.array(knn.scores, pa.float32()),
            pa.array(knn.percentiles, pa.float32()),
            pa.array(mahalanobis.scores, pa.float32()),
            pa.array(mahalanobis.percentiles, pa.float32()),
            pa.array(found.percentiles, pa.float32()),
            pa.array(found.ranks, pa.int64()),
            pa.ListArray.from_arrays(offsets, neighbours),
        ]
        table = pa.Table.from_arrays(columns, ANOMALIES.columns.names)
        lake.replace_space("anomalies", name, table, run_id)
        return Built({"contents": vectors.rows}, {"detectors": [d.name for d in found.detectors]})

    return build_if_changed(lake, step, vectors, run_id, work)
