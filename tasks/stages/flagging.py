"""The report `anomalies`: distances to neighbours are exact, the covariance is fitted now and then.

Percentiles and ranks compare each content with all others, so they are computed anew each time,
from scores; that is a sort. What costs is scoring, and only new contents are scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.allocators import release_unused
from data.result_schemas import ANOMALIES, DETECTOR_FITS
from data.space_files import GROUP_ROWS, numbered_lists
from models.analysis.anomalies import Anomalies, rank_anomalies
from models.analysis.detectors import (
    Mahalanobis,
    MahalanobisFit,
    NeighbourDistance,
    mean_distances,
)
from models.indexes.results import NO_ROW, Neighbours
from models.types import Metric
from tasks.stages.budget import budget_of
from tasks.stages.builds import BuildStep, Built, Details, build_if_changed
from tasks.stages.needs import anomalies_need
from tasks.stages.stored_graph import stored_lists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.analysis.detectors import Scores
    from models.types import RowIds
    from tasks.stages.receipts import StageReceipt

MOST_CHANGES: Final = 0.1
"""Contents that have come or gone since the fit, as a share of those it was fitted to."""
MOST_DRIFT: Final = 1.1
"""Mean score against that at the fit, or the other way round."""
_REVISION = 2
"""Raise it when the same vectors should get another report."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """Scores of all contents, and the fit they go back to.

    Attributes:
        scores: (rows,) float64, squared Mahalanobis distances, rounded as the table stores them:
            old and new contents are compared at one precision.
        fitted_rows: how many contents the covariance was fitted to.
        fitted_mean: their mean score.
        changes_since: how many contents have come or gone since.
        update: what was done and why.
        fit: what is to be stored; None where it is in the lake.
    """

    scores: Scores
    fitted_rows: int
    fitted_mean: float
    changes_since: int
    update: str
    fit: MahalanobisFit | None = None


class _Lists:
    """The space's graph, to be walked over again: held where it is one row group, else read."""

    def __init__(self, lake: Lake, space: SpaceRow, vectors: ShardVectors) -> None:
        self._read = partial(stored_lists, lake, space, vectors)
        self._held = list(self._read()) if vectors.rows <= GROUP_ROWS else None

    def __iter__(self) -> Iterator[tuple[RowIds, Neighbours]]:
        return self._read() if self._held is None else iter(self._held)


def flag_anomalies(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Score what is new and rank everything, if vectors or graph have changed."""
    name, metric = space.key, Metric(space.id.metric)
    inputs = {"k": settings.space(space.id.name).neighbours, "revision": _REVISION}
    step = BuildStep("anomalies", space, inputs)

    def work(last: Details | None) -> Built:
        needed = anomalies_need(vectors, settings.space(space.id.name).neighbours)
        budget_of(settings).require(f"anomalies of space '{space.label}'", needed)
        lists = _Lists(lake, space, vectors)
        near_scores = mean_distances(lists, vectors.rows, metric)
        scored = _carried(lake, space, vectors, last)
        if isinstance(scored, str):
            fit = MahalanobisFit.of(vectors, metric)
            scores = _rounded(fit.scores(vectors))
            scored = _Scored(scores, vectors.rows, _mean(scores), 0, scored, fit)
        release_unused(vectors.rows)
        found = rank_anomalies(
            {
                NeighbourDistance().name: _rounded(near_scores),
                Mahalanobis().name: scored.scores,
            },
            lists,
        )
        release_unused(vectors.rows)
        if scored.fit is not None:
            lake.replace_space("detector_fits", name, _fit_rows(name, scored.fit), run_id)
        lake.replace_space("anomalies", name, _parts(vectors, found), run_id)
        details: dict[str, Any] = {
            "detectors": [judged.name for judged in found.detectors],
            "fitted_rows": scored.fitted_rows,
            "fitted_mean": scored.fitted_mean,
            "changes_since": scored.changes_since,
            "update": scored.update,
        }
        return Built({"contents": vectors.rows}, details, (scored.update,) if last else ())

    return build_if_changed(lake, step, vectors, run_id, work)


def _carried(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, details: Details | None
) -> _Scored | str:
    """Score new contents by the stored fit; or say why there has to be a new one."""
    if details is None:
        return "fitted: the first of these settings"
    here = pc.field("space") == space.key
    stored = lake.read("anomalies", where=here, columns=["content_id", "mahalanobis"])
    rows = vectors.rows_of(stored["content_id"])
    alive = rows != NO_ROW
    is_new = np.ones(vectors.rows, np.bool_)
    is_new[rows[alive]] = False
    fresh = np.flatnonzero(is_new).astype(np.int64)
    changes = details["changes_since"] + fresh.size + int((~alive).sum())
    if changes > MOST_CHANGES * details["fitted_rows"]:
        return f"fitted: {changes:,} contents came or went since {details['fitted_rows']:,}"
    fit = _stored_fit(lake, space.key, Metric(space.id.metric))
    if fit is None:
        return "fitted: the last fit was not there"
    scores = np.empty(vectors.rows, np.float64)
    scores[rows[alive]] = stored["mahalanobis"].to_numpy()[alive]
    scores[fresh] = _rounded(fit.scores(vectors.subset(fresh)))
    mean, fitted = _mean(scores), details["fitted_mean"]
    if max(mean, fitted) > MOST_DRIFT * min(mean, fitted):
        return f"fitted: mean score {mean:.4g}, {fitted:.4g} at the last fit"
    update = f"scored: {fresh.size:,} new, {changes:,} came or went since the fit"
    return _Scored(scores, details["fitted_rows"], fitted, changes, update)


def _stored_fit(lake: Lake, name: str, metric: Metric) -> MahalanobisFit | None:
    here = (pc.field("space") == name) & (pc.field("detector") == Mahalanobis().name)
    stored = lake.read("detector_fits", where=here).sort_by("component")
    if stored.num_rows == 0:
        return None
    values = stored["coefficients"].combine_chunks().flatten().to_numpy()
    mean, *_ = parts = values.reshape(stored.num_rows, -1)
    return MahalanobisFit(metric, mean, np.ascontiguousarray(parts[1:].T))


def _fit_rows(name: str, fit: MahalanobisFit) -> pa.Table:
    """Return the mean as component 0, and the columns of the whitening matrix after it."""
    parts = np.vstack([fit.mean, fit.whitening.T])
    columns = [
        pa.array(np.full(len(parts), name), pa.string()),
        pa.array(np.full(len(parts), Mahalanobis().name), pa.string()),
        pa.array(np.arange(len(parts)), pa.int32()),
        pa.array(list(parts), pa.list_(pa.float64())),
    ]
    return pa.Table.from_arrays(columns, schema=DETECTOR_FITS.columns)


def _parts(vectors: ShardVectors, found: Anomalies) -> Iterator[pa.Table]:
    near, far = found.detectors
    columns = {
        "knn_distance": near.scores,
        "knn_percentile": near.percentiles,
        "mahalanobis": far.scores,
        "mahalanobis_percentile": far.percentiles,
        "percentile": found.percentiles,
        "rank": found.ranks,
    }
    for start in range(0, vectors.rows, GROUP_ROWS):
        part = slice(start, start + GROUP_ROWS)
        normal = numbered_lists(found.normal_neighbours[part], vectors.content_ids)
        yield pa.table(
            {"content_id": vectors.content_ids[part]}
            | {
                name: pa.array(values[part], ANOMALIES.columns.field(name).type)
                for name, values in columns.items()
            }
            | {"normal_neighbours": normal}
        )


def _rounded(scores: Scores) -> Scores:
    return scores.astype(np.float32).astype(np.float64)


def _mean(scores: Scores) -> float:
    return float(scores.mean()) if scores.size else 0.0
