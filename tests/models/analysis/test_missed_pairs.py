"""The audit of pairs against plain numpy, and its interval against coverage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models.analysis.duplicates import Pairs
from models.analysis.missed_pairs import find_missed, missed_share, wilson
from models.types import ArrayVectors, Matrix, Metric, normalised

Values = npt.NDArray[np.float64]
THRESHOLDS = {Metric.COSINE: 0.9, Metric.INNER_PRODUCT: 30.0, Metric.L2: -40.0}


def grouped(seed: int, rows: int = 300) -> Matrix:
    """Vectors in groups of one to many, so that some rows have no pair and some have dozens."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, 24)) * 2
    chosen = (rng.random(rows) ** 3 * 40).astype(int)
    made: Matrix = (centres[chosen] + rng.normal(size=(rows, 24)) * 0.7).astype(np.float32)
    return made


def similarities(vectors: Matrix, metric: Metric) -> Values:
    wide = vectors.astype(np.float64)
    if metric is Metric.L2:
        found: Values = -np.square(wide[:, None] - wide[None]).sum(axis=2)
        return found
    if metric is Metric.COSINE:
        wide = normalised(vectors).astype(np.float64)
    return wide @ wide.T


def pairs_of(near: npt.NDArray[np.bool_], values: Values) -> Pairs:
    first, second = np.nonzero(np.triu(near, 1))
    return Pairs(first, second, values[first, second].astype(np.float32))


@pytest.mark.parametrize("metric", list(Metric))
def test_an_audit_counts_what_brute_force_counts(metric: Metric) -> None:
    vectors = grouped(3)
    values = similarities(vectors, metric)
    near = values >= THRESHOLDS[metric]
    np.fill_diagonal(near, val=False)
    complete = pairs_of(near, values)
    rng = np.random.default_rng(5)
    held = rng.random(complete.count) > 0.2
    known = Pairs(complete.first[held], complete.second[held], complete.similarities[held])
    rows = np.sort(rng.choice(300, 60, replace=False)).astype(np.int64)
    lost = np.zeros_like(near)
    lost[complete.first[~held], complete.second[~held]] = True
    lost |= lost.T
    found = find_missed(ArrayVectors(vectors), metric, THRESHOLDS[metric], known, rows)
    assert found.missed.cases == near[rows].sum() > 100
    assert found.missed.hits == lost[rows].sum() > 20
    assert found.compared == 60 * 300
    assert len(found.examples) == min(100, lost[rows].sum())
    assert np.isin(found.examples[:, 0], rows).all()
    assert lost[found.examples[:, 0], found.examples[:, 1]].all()
    np.testing.assert_allclose(found.similarities, values[tuple(found.examples.T)], atol=1e-4)


def test_nothing_is_missed_where_all_pairs_are_known() -> None:
    vectors = grouped(4)
    values = similarities(vectors, Metric.COSINE)
    near = values >= 0.9
    np.fill_diagonal(near, val=False)
    rows = np.arange(300, dtype=np.int64)
    found = find_missed(ArrayVectors(vectors), Metric.COSINE, 0.9, pairs_of(near, values), rows)
    assert found.missed.cases == near.sum()
    assert (found.missed.hits, found.missed.low) == (0, 0.0)
    assert 0 < found.missed.high < 0.1


def test_a_sample_without_pairs_proves_nothing() -> None:
    share = missed_share(np.zeros(9, np.int64), np.zeros(9, np.int64))
    assert (share.cases, share.rate, share.low, share.high) == (0, 0.0, 0.0, 1.0)


def test_wilson_s_interval_is_that_of_the_literature() -> None:
    # Brown, Cai & DasGupta (2001): the interval solves |p - x| = z sqrt(p (1 - p) / n).
    for rate, cases in ((0.1, 50.0), (0.0, 20.0), (0.97, 300.0)):
        for end in wilson(rate, cases):
            if 0 < end < 1:
                distance = 1.959963984540054 * np.sqrt(end * (1 - end) / cases)
                assert abs(end - rate) == pytest.approx(distance, rel=1e-9)


def test_the_interval_covers_the_truth_although_a_row_s_pairs_hang_together() -> None:
    rng = np.random.default_rng(11)
    size = 20_000
    true = rng.geometric(0.25, size)
    # A bad row loses most of its pairs, a good one few: heavy clustering.
    chance = np.where(rng.random(size) < 0.05, 0.9, 0.002)
    missed = rng.binomial(true, chance)
    rate = missed.sum() / true.sum()
    inside = naive = 0
    for _ in range(400):
        rows = rng.choice(size, 400, replace=False)
        share = missed_share(true[rows], missed[rows])
        inside += share.low <= rate <= share.high
        low, high = wilson(share.rate, share.cases)
        naive += low <= rate <= high
    assert inside >= 0.92 * 400
    assert naive < inside  # what the same interval would be worth with pairs as independent
