"""Edges against what is said of them, edge by edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.analysis.duplicates import Pairs
from models.analysis.edges import KINDS, Edges, joined_edges

EDGE = st.tuples(st.sampled_from(KINDS), st.integers(-4, 4).map(lambda n: n / 4))
THRESHOLDS = {kind: 0.25 * place for place, kind in enumerate(KINDS)}


def of(kind: str, scores: list[float]) -> Edges:
    rows = np.arange(len(scores), dtype=np.int64)
    pairs = Pairs(rows, rows + 1, np.array(scores, np.float32))
    return Edges.of_kind(kind, pairs, THRESHOLDS[kind])


@given(st.lists(EDGE, min_size=1, max_size=30))
def test_edges_are_held_against_their_kind_s_threshold_and_ordered_by_kind_then_score(
    given_edges: list[tuple[str, float]],
) -> None:
    edges = joined_edges([of(kind, [score]) for kind, score in given_edges])
    assert edges.count == len(given_edges)
    near = [(kind, score) for kind, score in given_edges if score >= THRESHOLDS[kind]]
    within = edges.within()
    told = zip([KINDS[kind] for kind in within.kinds], within.scores.tolist(), strict=True)
    assert list(told) == near
    strengths = edges.strengths()
    keys = [(-KINDS.index(kind), score) for kind, score in given_edges]
    for one, key in zip(strengths, keys, strict=True):
        for other, other_key in zip(strengths, keys, strict=True):
            assert (one < other) == (key < other_key)


def test_other_thresholds_are_tried_on_the_same_edges() -> None:
    edges = joined_edges([of("lexical", [0.3, 0.6, 0.9]), of("near", [1.5])])
    edges = edges.with_thresholds({"lexical": 0.5})
    assert edges.within().scores.tolist() == pytest.approx([0.6, 0.9, 1.5])
    tried = edges.with_thresholds({"lexical": 0.9})
    assert tried.within().scores.tolist() == pytest.approx([0.9, 1.5])
    assert edges.with_thresholds({"lexical": 0.1}).within().count == 4


def test_scores_are_the_similarities_where_nothing_else_is_known() -> None:
    edges = of("near", [0.25, 2.0])
    assert edges.scores is edges.similarities
    with pytest.raises(ValueError, match="without a threshold"):
        Edges.of_kind("near", Pairs(edges.first, edges.second, edges.scores), None)
