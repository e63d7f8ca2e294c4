"""Which lists rows probe: the rule, held against its formula and against all other choices."""

from __future__ import annotations

import numpy as np
import pytest

from models.indexes.faiss_library import library, use_threads
from models.indexes.plans import IndexPlan, SearchParameters
from models.indexes.probing import ProbeRule
from models.indexes.vector_index import VectorIndex
from models.types import Matrix, Metric, RowIds, normalised

QUERIES, LISTS, K = 2000, 50, 10
LENGTHS: RowIds = np.random.default_rng(1).integers(5, 400, LISTS)


def drawn(scale: float) -> tuple[Matrix, RowIds]:
    """Similarities to centroids, and lists of neighbours that lie as the rule supposes."""
    random = np.random.default_rng(2)
    similarities = random.normal(0.2, 0.2, (QUERIES, LISTS)).astype(np.float32)
    weights = LENGTHS * np.exp(similarities.astype(np.float64) / scale)
    weights = weights / weights.sum(axis=1, keepdims=True)
    homes = np.stack([random.choice(LISTS, K, p=row) for row in weights])
    return similarities, homes


def test_a_list_is_probed_where_a_neighbour_is_likely() -> None:
    similarities, _ = drawn(0.05)
    rule = ProbeRule(scale=0.05, least=0.05 * np.log(1e-4), compared=0, probes=1)
    weights = np.exp(similarities.astype(np.float64) / 0.05)
    density = weights / (weights @ LENGTHS)[:, None]
    expected = density >= np.minimum(1e-4, density.max(axis=1, keepdims=True))
    probed = rule.probed(similarities, LENGTHS)
    assert (probed == expected).mean() > 0.9999  # float32 at the bound
    assert probed[np.arange(QUERIES), similarities.argmax(axis=1)].all()
    hopeless = ProbeRule(scale=0.05, least=1.0, compared=0, probes=1)
    assert (hopeless.probed(similarities, LENGTHS).sum(axis=1) == 1).all()


@pytest.mark.parametrize("share", [0.6, 0.9, 1.0])
def test_it_holds_the_share_for_fewer_comparisons_than_one_number_of_lists(share: float) -> None:
    similarities, homes = drawn(0.05)
    rule = ProbeRule.fitted(similarities, LENGTHS, homes, share)
    probed = rule.probed(similarities, LENGTHS)
    assert rule.compared == pytest.approx((probed @ LENGTHS).mean())
    assert rule.probes == pytest.approx(probed.sum(axis=1).mean())
    assert np.take_along_axis(probed, homes, axis=1).mean() >= share
    rank = (-similarities).argsort(axis=1).argsort(axis=1)
    needed = np.take_along_axis(rank, homes, axis=1)
    fewest = next(n for n in range(1, LISTS + 1) if (needed < n).mean() >= share)
    assert rule.compared < 0.95 * ((rank < fewest) @ LENGTHS).mean()


def test_other_rows_of_the_kind_find_as_much() -> None:
    similarities, homes = drawn(0.05)
    reached = []
    for start in range(0, QUERIES, 200):
        some = slice(start, start + 200)
        rule = ProbeRule.fitted(similarities[some], LENGTHS, homes[some], 0.9)
        probed = rule.probed(similarities, LENGTHS)
        reached.append(np.take_along_axis(probed, homes, axis=1).mean())
    assert np.mean(np.array(reached) >= 0.9) >= 0.8


@pytest.mark.parametrize(
    ("factory", "dim"),
    [
        ("IVF32,Flat", 24),
        ("IVF32,SQfp16", 24),
        ("IVF32,SQfp16", 22),  # with padding
        ("PCA16,IVF32,SQ8,Refine(SQfp16)", 24),
    ],
)
def test_lists_are_those_of_the_index_and_threads_do_not_matter(factory: str, dim: int) -> None:
    random = np.random.default_rng(3)
    matrix = normalised(random.standard_normal((3000, dim)).astype(np.float32))
    index = VectorIndex.empty(dim, Metric.COSINE, IndexPlan(factory, SearchParameters(2), 2000, ()))
    index.train(matrix[:2000], 0)
    index.add(matrix)
    # The neighbour of each row is the row itself: hardly another list than its own is needed.
    own = np.arange(3000)[:, None]
    rule = index.likely_lists(matrix, own, 1.0)
    assert rule is not None
    assert 1 <= rule.probes < 2
    assert (index.search(matrix, 1, rule=rule).rows == own).mean() > 0.999
    half = np.flatnonzero(np.arange(3000) % 2)
    found = index.search(matrix, 5, half, rule)
    assert np.isin(found.rows, half).all()
    before = library().omp_get_max_threads()
    use_threads(1)
    alone = index.search(matrix, 5, half, rule)
    use_threads(2)
    beside = index.search(matrix, 5, half, rule)
    use_threads(before)
    assert (alone.rows == beside.rows).all()
    assert (alone.similarities == beside.similarities).all()
