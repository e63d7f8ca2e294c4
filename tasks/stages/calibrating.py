"""Calibration: the threshold of a space for a precision, from its own contents.

Duplicates that are known are made: sampled contents are altered, and encoded by the space's own
encoder. What others score is seen in the data: all pairs of the sampled contents above a level, by
exact scan. `models.analysis.calibration` puts the two together at the base rate of the data. Random
pairs are drawn besides, to show where pairs that have nothing to do with each other lie.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.lake import table_of
from data.undo import whole_or_undone
from latentlake.errors import ConfigError
from models.analysis.calibration import Axis, Chosen, Sampled, choose_threshold
from models.analysis.edges import KINDS
from models.indexes.exact import pair_similarities
from models.indexes.recall import ground_truth
from models.indexes.results import NO_ROW
from models.indexes.streams import prepared, sample, take
from models.types import Metric
from tasks.stages.altered import altered_vectors
from tasks.stages.altered_photos import photo_background, photo_copy_scores
from tasks.stages.auditing import held_sample
from tasks.stages.calibrations import STAGE, Calibration
from tasks.stages.edges import stored_edges
from tasks.stages.receipts import StageReceipt
from tasks.stages.runs import begin_run, finish_run, writing
from tasks.stages.spaces import require_space, space_vectors
from tasks.stages.thresholds import PAIR_KINDS, is_verified

if TYPE_CHECKING:
    import numpy.typing as npt

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.types import RowIds
    from tasks.stages.altered import Altered
    from tasks.stages.runs import RunSummary

    Floats = npt.NDArray[np.float64]

_LOOKED_AT: Final = 1000
"""Contents whose pairs are looked at, at least: duplicates are rare, and copies cost more."""
_NEIGHBOURS: Final = 16
_COMPLETE: Final = 0.9
"""Of the sampled contents, so many must have all their pairs above the level that is looked at."""
_FAR: Final = 4000
_BANDS: Final = 12
_SHOWN: Final = 3
"""Pairs of each band of scores that are shown."""
_LEAST_COPIES: Final = 20
_AXES: Final = {Metric.COSINE: Axis(1.0), Metric.L2: Axis(0.0), Metric.INNER_PRODUCT: Axis()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to calibrate for.

    Attributes:
        precision: share of the removals' pairs that are to be duplicates, in (0, 1).
        sampled: contents to alter.
    """

    precision: float = 0.98
    sampled: int = 300


def calibrate_space(
    lake: Lake, settings: Settings, name: str, wanted: Wanted, *, wait: bool = True
) -> tuple[Calibration, RunSummary]:
    """Calibrate a space and store the outcome, as a run of its own.

    Raises:
        ConfigError: there is nothing to alter, or too little.
        LakeBusyError: another writer is at work, and `wait` is false.
    """
    with writing(lake, "calibrate", wait=wait):
        began = time.monotonic()
        run = begin_run(lake, "calibrate")
        space = require_space(lake, settings, name)
        vectors = space_vectors(lake, settings, space)
        calibration = measure_threshold(lake, settings, space, vectors, wanted)
        seconds = time.monotonic() - began
        row = {
            "space": space.key,
            "stage": STAGE,
            "inputs": vectors.digest,
            "fingerprint": space.id.fingerprint,
            "rows": vectors.rows,
            "seconds": seconds,
            "details": json.dumps(asdict(calibration), sort_keys=True),
            "run_id": run.run_id,
            "recorded_at": datetime.now(UTC),
        }
        with whole_or_undone(lake, f"{STAGE} {space.label}"):
            lake.upsert("builds", table_of("builds", [row]), run.run_id)
        counts = {"copies": calibration.copies}
        receipt = StageReceipt(STAGE, space.label, True, counts, seconds)  # noqa: FBT003
        return calibration, finish_run(lake, settings, run, [receipt])


def measure_threshold(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, wanted: Wanted
) -> Calibration:
    """Choose the threshold of a space; nothing is written.

    Raises:
        ConfigError: there is nothing to alter, or too little.
    """
    rows, metric = held_sample(vectors, wanted.sampled, settings.run.seed), Metric(space.id.metric)
    altered = altered_vectors(lake, settings, space, vectors.content_ids.take(pa.array(rows)))
    if altered.count < _LEAST_COPIES:
        raise ConfigError(
            f"space '{space.label}': {altered.count} altered copies could be encoded, which is too "
            f"little to calibrate by: at least {_LEAST_COPIES} are needed."
        )
    verified = is_verified(settings, space)
    if verified:
        made = photo_copy_scores(lake, settings, space, vectors, altered)
        pairs = _stored_photo_pairs(lake, settings, space, vectors)
    else:
        made = _copy_scores(vectors, metric, rows, altered)
        looked_at = held_sample(vectors, max(_LOOKED_AT, wanted.sampled), settings.run.seed)
        pairs = _observed(vectors, metric, looked_at)
    copies, observed = Sampled(made, altered.originals), Sampled(pairs.scores, pairs.one)
    axis = Axis() if verified else _AXES[metric]
    chosen = choose_threshold(copies, observed, wanted.precision, settings.run.seed, axis)
    if verified:  # no score is above 1: see `models.analysis.evidence.scores`
        chosen = replace(chosen, threshold=min(1.0, chosen.threshold))
    far = _far_pairs(vectors, metric, settings.run.seed)
    if verified:
        far -= _typical(photo_background(lake, space, vectors))
    edges = _band_edges(chosen, copies.scores, far)
    ways = np.array(altered.ways)
    reached = copies.scores >= chosen.threshold
    return Calibration(
        verified=verified,
        **{n: getattr(chosen, n) for n in ("threshold", "low", "high", "precision", "recall")},
        wanted_precision=wanted.precision,
        recall_by_way={str(way): float(reached[ways == way].mean()) for way in np.unique(ways)},
        duplicate_share=float(chosen.duplicate_share),
        sampled=int(rows.size),
        copies=altered.count,
        edges=edges.round(6).tolist(),
        of_copies=_histogram(copies.scores, edges),
        of_pairs=_histogram(pairs.scores, edges),
        of_far_pairs=_histogram(far, edges),
        examples=_examples(lake, vectors, pairs, edges, settings.run.seed),
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs in the data: rows of both sides, (any,) each, and their scores."""

    one: RowIds
    other: RowIds
    scores: Floats


def _copy_scores(vectors: ShardVectors, metric: Metric, rows: RowIds, altered: Altered) -> Floats:
    originals = prepared(take(vectors, rows), vectors.dim, metric)
    copies = prepared(altered.vectors, vectors.dim, metric)
    return pair_similarities(originals[altered.originals], copies, metric)


def _observed(vectors: ShardVectors, metric: Metric, rows: RowIds) -> _Pairs:
    """Return the pairs of some rows above a level, as low as nearly all lists reach."""
    truth = ground_truth(vectors, rows, _NEIGHBOURS, metric)
    found = truth.neighbours
    if found.rows.shape[1] == 0:
        none = np.empty(0, np.int64)
        return _Pairs(none, none, np.empty(0))
    whole = found.rows.shape[1] < _NEIGHBOURS
    last = found.similarities[:, -1].astype(np.float64)
    level = -np.inf if whole else float(np.quantile(last, _COMPLETE))
    inside = (found.rows != NO_ROW) & (found.similarities >= level)
    one = np.broadcast_to(truth.rows[:, None], inside.shape)[inside]
    return _Pairs(one, found.rows[inside], found.similarities[inside].astype(np.float64))


def _stored_photo_pairs(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors
) -> _Pairs:
    """Return the pairs of photos that were compared: all that may be duplicates."""
    edges = stored_edges(lake, settings, space, vectors)
    own = np.flatnonzero(edges.kinds == KINDS.index(PAIR_KINDS[space.modality]))
    return _Pairs(edges.first[own], edges.second[own], edges.scores[own].astype(np.float64))


def _typical(background: npt.NDArray[np.float32]) -> float:
    return float(np.median(background)) if background.size else 0.0


def _far_pairs(vectors: ShardVectors, metric: Metric, seed: int) -> Floats:
    """Return the similarities of random pairs."""
    count = min(_FAR, vectors.rows // 2)
    rows = sample(vectors.rows, 2 * count, seed)
    found = prepared(take(vectors, rows), vectors.dim, metric)
    return pair_similarities(found[:count], found[count:], metric)


def _band_edges(chosen: Chosen, copies: Floats, far: Floats) -> Floats:
    low = min(float(copies.min()), float(far.min(initial=copies.min())), chosen.start)
    high = max(float(copies.max()), chosen.threshold)
    return np.linspace(low, high, 4 * _BANDS + 1)


def _histogram(scores: Floats, edges: Floats) -> list[int]:
    counts: list[int] = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0].tolist()
    return counts


def _examples(
    lake: Lake, vectors: ShardVectors, pairs: _Pairs, edges: Floats, seed: int
) -> list[dict[str, Any]]:
    """Draw some pairs of each band, the highest scores first, by the places of their items."""
    order = np.random.default_rng(seed).permutation(pairs.scores.size)
    bands = np.clip(np.searchsorted(edges[::4], pairs.scores[order]) - 1, 0, _BANDS - 1)
    shown = [order[bands == band][:_SHOWN] for band in reversed(range(_BANDS))]
    places = np.concatenate(shown)
    ids = [vectors.content_ids.take(pa.array(side[places])) for side in (pairs.one, pairs.other)]
    wanted = pa.chunked_array(ids).unique()
    items = lake.read("items", within=("content_id", wanted), columns=["content_id", "uri"])
    known = items["content_id"].combine_chunks()
    uris = [items["uri"].take(pc.index_in(side, value_set=known)).to_pylist() for side in ids]
    scores = pairs.scores[places].round(6).tolist()
    return [
        {"score": score, "one": one, "other": other}
        for score, one, other in zip(scores, *uris, strict=True)
    ]
