"""SIF against the formula of the paper, written out as loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders.sif import (
    WordIds,
    common_component,
    mean_of_words,
    sif_weighted,
    without_component,
    zipf_frequencies,
)

if TYPE_CHECKING:
    from models.types import Matrix

PROPERTY = settings(derandomize=True, deadline=None, max_examples=50)
WORDS, DIM = 30, 6


def table(seed: int) -> Matrix:
    return np.random.default_rng(seed).normal(size=(WORDS, DIM)).astype(np.float32)


documents = st.lists(
    st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=40).map(
        lambda ids: np.array(ids, dtype=np.int32)
    ),
    min_size=1,
    max_size=12,
)


@PROPERTY
@given(batch=documents, seed=st.integers(0, 100))
def test_the_whole_of_algorithm_1(batch: list[WordIds], seed: int) -> None:
    vectors, frequencies, a = table(seed), zipf_frequencies(WORDS), 1e-2

    means = np.zeros((len(batch), DIM))
    for row, ids in enumerate(batch):
        for word in ids:
            means[row] += a / (a + frequencies[word]) * vectors[word].astype(np.float64)
        means[row] /= len(ids)
    u = np.linalg.svd(means, full_matrices=False)[2][0]
    expected = means - np.outer(means @ u, u)

    weighted = sif_weighted(vectors, frequencies, a)
    component = common_component(mean_of_words(batch, weighted))
    found = mean_of_words(batch, without_component(weighted, component))
    assert abs(component @ u) == pytest.approx(1, abs=1e-5) or _is_a_tie(means)
    if not _is_a_tie(means):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def _is_a_tie(means: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> bool:
    """Whether the first singular vector is not determined."""
    values = np.linalg.svd(means, compute_uv=False)
    return len(values) > 1 and values[1] > 0.97 * values[0]


@PROPERTY
@given(batch=documents, seed=st.integers(0, 100), data=st.data())
def test_a_row_depends_on_nothing_but_its_words(
    batch: list[WordIds], seed: int, data: st.DataObject
) -> None:
    vectors = table(seed)
    whole = mean_of_words(batch, vectors)
    order = data.draw(st.permutations(range(len(batch))))
    np.testing.assert_array_equal(mean_of_words([batch[i] for i in order], vectors), whole[order])
    for row, ids in enumerate(batch):
        np.testing.assert_array_equal(mean_of_words([ids], vectors)[0], whole[row])


def test_an_empty_batch_and_an_empty_document() -> None:
    assert mean_of_words([], table(0)).shape == (0, DIM)
    empty = np.zeros(0, dtype=np.int32)
    np.testing.assert_array_equal(mean_of_words([empty], table(0)), np.zeros((1, DIM)))


def test_documents_of_zeros_have_no_component() -> None:
    component = common_component(np.zeros((3, DIM), dtype=np.float32))
    np.testing.assert_array_equal(without_component(table(0), component), table(0))


def test_the_component_is_projected_out() -> None:
    component = common_component(table(1))
    assert np.linalg.norm(component) == pytest.approx(1)
    assert np.abs(without_component(table(1), component) @ component).max() < 1e-6


def test_zipf_falls_with_the_rank_and_sums_to_one() -> None:
    shares = zipf_frequencies(1000)
    assert shares.sum() == pytest.approx(1)
    assert (np.diff(shares) < 0).all()
    assert shares[0] / shares[99] == pytest.approx(102.7 / 3.7)
