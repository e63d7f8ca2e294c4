"""Evidence for duplicates against its formula, computed row by row."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.analysis.evidence import (
    LEAST_BACKGROUND,
    MOST_BACKGROUND,
    backgrounds,
    excess,
    scores,
)
from models.indexes.results import Neighbours

LISTS = st.lists(
    st.lists(st.floats(-1, 1, width=32), max_size=20).map(lambda one: sorted(one, reverse=True)),
    min_size=1,
    max_size=6,
)


@given(LISTS)
def test_the_background_is_the_mean_of_neighbours_5_to_15_within_bounds(
    lists: list[list[float]],
) -> None:
    rows = np.full((len(lists), 20), -1, np.int64)
    similarities = np.full((len(lists), 20), -np.inf, np.float32)
    for at, one in enumerate(lists):
        rows[at, : len(one)] = 0
        similarities[at, : len(one)] = one
    found = backgrounds(Neighbours(rows, similarities))
    for one, value in zip(lists, found, strict=True):
        far = one[4:15]
        mean = sum(far) / len(far) if far else -1
        wanted = min(max(mean, LEAST_BACKGROUND), MOST_BACKGROUND)
        assert math.isclose(value, wanted, abs_tol=5.1e-5)


@given(
    st.floats(-1, 1, width=32),
    st.floats(0.5, 0.75, width=32),
    st.floats(0.5, 0.75, width=32),
    st.integers(0, 10_000),
    st.none() | st.floats(-1, 1, width=32),
)
def test_a_score_is_the_excess_and_a_tenth_of_what_the_pixels_say(
    similarity: float, one: float, other: float, inliers: int, correlation: float | None
) -> None:
    first, second = np.array([1]), np.array([0])
    background = np.array([other, one], np.float32)
    over = excess(np.array([similarity], np.float32), background, first, second)
    slopes = np.array([np.nan if correlation is None else correlation], np.float32)
    found = scores(over, np.array([inliers], np.int32), slopes)
    by_inliers = min(math.log(1 + inliers), 5)
    by_slopes = 0.0 if correlation is None else max(0.0, 25 * (correlation - 0.8))
    wanted = similarity - (one + other) / 2 + 0.1 * max(by_inliers, by_slopes)
    assert math.isclose(found[0], wanted, abs_tol=6e-5)
