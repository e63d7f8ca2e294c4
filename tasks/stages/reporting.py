"""The reports of a space: what they depend on, and the rows they write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from data.schemas import ANOMALIES
from models.analysis.anomalies import find_anomalies
from models.indexes.results import NO_ROW
from tasks.stages.builds import BuildStep, Built, build_if_changed
from tasks.stages.clustering import cluster_contents
from tasks.stages.deduplicating import find_duplicates
from tasks.stages.neighbours import stored_graph
from tasks.stages.spaces import require_space, space_vectors

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
            return cluster_contents(lake, settings, space, vectors, run_id)
        case "anomalies":
            return _anomalies(lake, settings, space, vectors, run_id)


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
