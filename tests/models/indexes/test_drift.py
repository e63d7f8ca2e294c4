"""When vectors that were added have moved away from those that an index was trained on."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from models.indexes.build import BuiltIndex, build_index
from models.indexes.drift import Drift, drift_of, layout_of
from models.indexes.plans import Coding, IndexKind, plan_for
from models.indexes.recall import RecallEstimate
from models.types import ArrayVectors, Matrix, Metric
from tasks.stages.index_drift import drift_after, drift_in, layout_in

ROWS, DIM = 4000, 24


def grouped(rows: int, seed: int, world: int = 0) -> Matrix:
    """Rows of 20 groups; another world has other groups."""
    centres = np.random.default_rng(world).standard_normal((20, DIM))
    random = np.random.default_rng(seed)
    noise = 0.3 * random.standard_normal((rows, DIM))
    return np.asarray(centres[random.integers(0, 20, rows)] + noise, dtype=np.float32)


def built(kind: IndexKind, metric: Metric) -> BuiltIndex:
    store = "SQfp16" if metric is Metric.COSINE else "Flat"
    plan = plan_for(kind, ROWS, coding=Coding(DIM, store, axes=16))
    return build_index(ArrayVectors(grouped(ROWS, 1)), metric, plan)


CASES = [
    (IndexKind.IVF_SQFP16, Metric.COSINE),
    (IndexKind.IVF_FLAT, Metric.L2),
    (IndexKind.PROJECTED, Metric.COSINE),
    (IndexKind.PQ, Metric.INNER_PRODUCT),
]


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_more_of_the_same_is_no_drift(kind: IndexKind, metric: Metric) -> None:
    one = built(kind, metric)
    assert one.layout is not None
    drift = None
    for seed in (2, 3):
        batch = grouped(300, seed)
        one.index.add(batch)
        drift = drift_of(one.index, batch, one.layout, drift)
    assert drift is not None
    assert drift.looked_at == 600
    assert drift.far < 0.05
    assert drift.reason_to_retrain(one.layout, 0.9) is None


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_another_world_asks_for_a_training(kind: IndexKind, metric: Metric) -> None:
    one = built(kind, metric)
    assert one.layout is not None
    batch = grouped(300, 2, world=9)
    one.index.add(batch)
    drift = drift_of(one.index, batch, one.layout, None)
    reason = drift.reason_to_retrain(one.layout, 0.9)
    assert reason is not None
    assert "at the training" in reason


def test_unevenness_is_that_of_the_lists_lengths() -> None:
    one = built(IndexKind.IVF_FLAT, Metric.L2)
    assert one.layout is not None
    lengths = one.index.list_lengths
    assert lengths.sum() == ROWS
    expected = lengths.size * np.square(lengths / ROWS).sum()
    assert one.layout.unevenness == pytest.approx(expected)
    copies = np.repeat(grouped(1, 2), 3000, axis=0)
    one.index.add(copies)
    drift = drift_of(one.index, copies[:200], one.layout, None)
    assert drift.far < 0.1
    assert "uneven" in (drift.reason_to_retrain(one.layout, 0.9) or "")


def test_the_reach_is_that_of_99_in_100() -> None:
    one = built(IndexKind.IVF_FLAT, Metric.L2)
    assert one.layout is not None
    unseen = grouped(5000, 5)
    drift = drift_of(one.index, unseen, one.layout, None)
    assert 0.002 < drift.far < 0.03


def test_a_poor_probe_asks_for_a_training_and_few_queries_do_not() -> None:
    one = built(IndexKind.IVF_FLAT, Metric.L2)
    assert one.layout is not None
    for queries, is_enough in ((200, True), (50, False)):
        probe = RecallEstimate(10, queries, 0.7, 0.65, 0.75)
        drift = Drift(one.layout.unevenness, queries, 0.0, probe)
        reason = drift.reason_to_retrain(one.layout, 0.9)
        assert (reason is not None and "0.700 of what 8 times" in reason) == is_enough


def test_no_lists_do_not_drift() -> None:
    flat = build_index(ArrayVectors(grouped(50, 1)), Metric.L2)
    assert flat.layout is None
    assert layout_of(flat.index, grouped(5, 2)) is None


def test_the_record_carries_drift_from_batch_to_batch() -> None:
    one = built(IndexKind.IVF_FLAT, Metric.L2)
    assert one.layout is not None
    vectors = ArrayVectors(np.concatenate((grouped(ROWS, 1), grouped(200, 2))))
    rows = np.arange(ROWS, ROWS + 200, dtype=np.int64)
    details = {"layout": asdict(one.layout), "drift": None}
    first = drift_after(one.index, vectors, rows, details, seed=0)
    assert first is not None
    details["drift"] = asdict(first)
    assert layout_in(details) == one.layout
    assert drift_in(details) == first
    second = drift_after(one.index, vectors, rows, details, seed=0)
    assert second is not None
    assert second.looked_at == 400
    assert drift_after(one.index, vectors, rows[:0], details, seed=0) == first
    assert drift_after(one.index, vectors, rows, {}, seed=0) is None
