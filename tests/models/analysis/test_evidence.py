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
from models.analysis.graph import NeighbourGraph
from models.types import Metric

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
    found = backgrounds(NeighbourGraph(rows, similarities, Metric.COSINE, None))
    for one, value in zip(lists, found, strict=True):
        far = one[4:15]
        mean = sum(far) / len(far) if far else -1
        wanted = min(max(mean, LEAST_BACKGROUND), MOST_BACKGROUND)
        assert math.isclose(value, wanted, rel_tol=1e-5)


@given(
    st.floats(-1, 1, width=32),
    st.floats(0.5, 0.75, width=32),
    st.floats(0.5, 0.75, width=32),
    st.integers(0, 10_000),
)
def test_a_score_is_the_excess_and_a_tenth_of_the_bounded_logarithm_of_inliers(
    similarity: float, one: float, other: float, inliers: int
) -> None:
    first, second = np.array([1]), np.array([0])
    background = np.array([other, one], np.float32)
    over = excess(np.array([similarity], np.float32), background, first, second)
    found = scores(over, np.array([inliers]))
    wanted = similarity - (one + other) / 2 + 0.1 * min(math.log(1 + inliers), 5)
    assert math.isclose(found[0], wanted, abs_tol=1e-5)
