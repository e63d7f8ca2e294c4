"""The chosen threshold against the truth of mixtures whose labels are known."""

from __future__ import annotations

import numpy as np
import pytest

from models.analysis.calibration import Axis, Sampled, choose_threshold


def made(seed: int, dimension: float, duplicates: int) -> tuple[Sampled, Sampled, np.ndarray]:
    """Cosines: altered copies, pairs in the data, and which of these are duplicates.

    Others lie as neighbours in so many dimensions do: their number within a distance r grows with
    r to the power of the dimension, and 1 - cosine is r * r / 2.
    """
    random = np.random.default_rng(seed)

    def copies_of(count: int) -> np.ndarray:
        return 1 - random.gamma(2.0, 0.01, count)

    others = 1 - 0.5 * random.random(8000) ** (2 / dimension)
    scores = np.concatenate((others, copies_of(duplicates)))
    true = np.arange(scores.size) >= others.size
    copies = Sampled(copies_of(1200), np.repeat(np.arange(200), 6))
    return copies, Sampled(scores, random.integers(0, 1000, scores.size)), true


@pytest.mark.parametrize("dimension", [6.0, 12.0])
@pytest.mark.parametrize("duplicates", [40, 4000])
@pytest.mark.parametrize("target", [0.9, 0.98])
def test_pairs_above_the_threshold_have_the_precision(
    dimension: float, duplicates: int, target: float
) -> None:
    kept = right = found = 0
    for seed in range(6 if duplicates == 40 else 2):
        copies, observed, true = made(seed, dimension, duplicates)
        chosen = choose_threshold(copies, observed, target, seed, Axis(1.0))
        above = observed.scores >= chosen.threshold
        kept, right = kept + int(above.sum()), right + int((above & true).sum())
        found += int(true.sum())
        assert chosen.low <= chosen.threshold <= chosen.high
        assert chosen.precision >= target
        assert chosen.recall == pytest.approx((copies.scores >= chosen.threshold).mean(), abs=0.01)
    # Neither less precise than asked for, nor more at the cost of duplicates.
    assert right / kept >= target - 0.05  # chance moves 240 pairs so far
    assert right / found > 0.45


@pytest.mark.parametrize("spread", [0.5, 0.8])
def test_others_that_grow_rare_faster_than_a_power_are_not_feared(spread: float) -> None:
    """Distances of others are lognormal: on the axis a bell, whose flank ever steepens."""
    random = np.random.default_rng(7)
    others = 1 - np.exp(random.normal(-1.0, spread, 20_000))
    copies = 1 - np.exp(random.normal(-5.5, 0.7, 1200))
    duplicates = 1 - np.exp(random.normal(-5.5, 0.7, 60))
    scores = np.concatenate((others, duplicates))
    observed = Sampled(scores, random.integers(0, 1000, scores.size))
    chosen = choose_threshold(
        Sampled(copies, np.repeat(np.arange(200), 6)), observed, 0.98, 0, Axis(1.0)
    )
    found, wrong = (duplicates >= chosen.threshold).sum(), (others >= chosen.threshold).sum()
    assert wrong <= 0.02 * found + 1
    assert found >= 54  # a straight line through all others keeps 40 and 1


def test_the_base_rate_decides_and_not_the_copies_alone() -> None:
    thresholds = []
    for duplicates in (4000, 400, 40, 4):
        copies, observed, _ = made(1, 8.0, duplicates)
        thresholds.append(choose_threshold(copies, observed, 0.98, 0, Axis(1.0)).threshold)
    assert thresholds == sorted(thresholds)
    assert thresholds[-1] - thresholds[0] > 0.02


def test_the_share_of_duplicates_is_that_of_the_pairs_above_the_level() -> None:
    copies, observed, true = made(2, 10.0, 800)
    chosen = choose_threshold(copies, observed, 0.98, 0, Axis(1.0))
    above = observed.scores >= chosen.start
    assert chosen.duplicate_share == pytest.approx(true[above].mean(), rel=0.1)


def test_a_precision_that_no_score_has_is_not_claimed() -> None:
    random = np.random.default_rng(0)
    copies = Sampled(random.normal(0.5, 0.1, 500), np.arange(500))
    others = Sampled(random.normal(0.5, 0.1, 5000), np.arange(5000))
    chosen = choose_threshold(copies, others, 0.98, 0)
    assert chosen.precision < 0.98
    assert chosen.threshold >= max(copies.scores.max(), others.scores.max())


def test_no_pairs_at_all_leave_the_copies_to_go_by() -> None:
    copies, _, _ = made(0, 8.0, 4)
    none = Sampled(np.empty(0), np.empty(0, np.int64))
    chosen = choose_threshold(copies, none, 0.98, 0, Axis(1.0))
    assert 0 < chosen.threshold <= 1


@pytest.mark.parametrize("axis", [Axis(1.0), Axis(0.0), Axis()])
def test_an_axis_leads_back(axis: Axis) -> None:
    scores = np.array([-3.0, -0.5, -0.001])
    places = axis.of(scores)
    assert (np.diff(places) > 0).all()
    assert [axis.back(place) for place in places] == pytest.approx(scores)


def test_the_interval_grows_narrower_with_the_sample() -> None:
    widths = []
    for factor in (1, 8):
        copies, observed, _ = made(3, 8.0, 40 * factor)
        count = 8000 * factor // 8 + 40 * factor
        part = Sampled(observed.scores[-count:], observed.clusters[-count:])
        chosen = choose_threshold(copies, part, 0.98, 0, Axis(1.0))
        widths.append(chosen.high - chosen.low)
    assert widths[1] < widths[0]
