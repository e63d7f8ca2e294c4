"""Which kind is chosen by trial, how its effort is tuned, and what a memory limit leaves."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.indexes.build import build_index, hold_back, trained_index
from models.indexes.choosing import choose_by_trial
from models.indexes.errors import IndexKindError, IndexTooLargeError
from models.indexes.plans import (
    MOST_FACTOR,
    Coding,
    IndexKind,
    IndexPlan,
    SearchParameters,
    index_bytes,
    plan_for,
)
from models.indexes.principal import kept_axes, principal_axes
from models.indexes.reaching import ROWS_A_QUERY, build_or_plain
from models.indexes.recall import estimate_recall, ground_truth, measure_recall
from models.indexes.rehearsal import rehearse
from models.indexes.rivals import rivals, suited
from models.indexes.streams import sample, silent
from models.indexes.tuning import Goal, answer, effort_ladder, tune
from models.indexes.vector_index import VectorIndex
from models.indexes.work import query_ns
from models.types import ArrayVectors, Matrix, Metric, normalised

if TYPE_CHECKING:
    from pathlib import Path

ROWS, DIM = 22_000, 400


def on_few_axes(rows: int, dim: int, axes: int, seed: int = 0) -> Matrix:
    """Vectors that lie near a subspace, as photos' pixels do, in 60 groups."""
    random = np.random.default_rng(seed)
    groups = random.standard_normal((60, axes))[random.integers(0, 60, rows)]
    inside = groups + 0.5 * random.standard_normal((rows, axes))
    basis = np.linalg.qr(random.standard_normal((dim, axes)))[0].T
    outside = 0.01 * random.standard_normal((rows, dim))
    return normalised((inside @ basis + outside).astype(np.float32))


@pytest.fixture(scope="module")
def flat_world() -> ArrayVectors:
    return ArrayVectors(on_few_axes(ROWS, DIM, 24))


def test_vectors_near_a_subspace_are_scanned_there(flat_world: ArrayVectors) -> None:
    plan = choose_by_trial(
        flat_world, Metric.COSINE, rivals(ROWS, DIM, Metric.COSINE), Goal(), seed=0
    )
    assert plan.kind is IndexKind.PROJECTED
    assert plan.factory.startswith("PCA32,")  # 24, to the next multiple of 16
    assert "tried on 10,000 vectors" in plan.reasons[-1]
    for kind in ("ivf_sqfp16", "projected", "pq200", "pq100", "rabitq"):
        told = plan.reasons[-1]
        assert f"{kind} nprobe" in told or f"{kind} costs at least" in told


def test_vectors_without_a_subspace_are_not_projected() -> None:
    random = np.random.default_rng(1)
    noise = ArrayVectors(normalised(random.standard_normal((ROWS, DIM)).astype(np.float32)))
    plans = tuple(
        plan
        for plan in rivals(ROWS, DIM, Metric.COSINE)
        if plan.kind in (IndexKind.IVF_SQFP16, IndexKind.PROJECTED)
    )
    plan = choose_by_trial(noise, Metric.COSINE, plans, Goal(0.3), seed=0)
    assert plan.kind is IndexKind.IVF_SQFP16
    assert "projected" not in plan.reasons[-1]


def test_axes_keep_the_inner_products(flat_world: ArrayVectors) -> None:
    axes = kept_axes(flat_world.matrix)
    shares = principal_axes(flat_world.matrix)[0]
    assert axes.shape == (32, DIM)
    assert shares[:24].sum() > 0.95 > shares[:16].sum()
    np.testing.assert_allclose(axes @ axes.T, np.eye(32), atol=1e-5)
    some = flat_world.matrix[:200]
    projected = some @ axes.T
    np.testing.assert_allclose(projected @ projected.T, some @ some.T, atol=0.06)


def test_tuning_counts_candidates_as_well_as_lists(flat_world: ArrayVectors) -> None:
    plan = plan_for(IndexKind.PQ, ROWS, coding=Coding(DIM))
    index = build_index(flat_world, Metric.COSINE, plan).index
    truth = ground_truth(flat_world, sample(ROWS, 300, 7), 10, Metric.COSINE)

    def recall(effort: SearchParameters) -> float:
        found = answer(index.with_parameters(effort), truth)
        return float(measure_recall(flat_world, truth, [found], Metric.COSINE)[0].mean())

    tuned = tune(index, flat_world, truth, Goal(0.9))
    assert tuned.recall == pytest.approx(recall(tuned.parameters))
    assert tuned.recall >= 0.9
    cheaper = [
        effort
        for nprobe in (1, 2, 3, 4, 6, 8, 12, 16)
        for factor in (1, 2, 3, 4, 6, 8, 16, 32)
        if query_ns(plan, effort := SearchParameters(nprobe, None, factor), ROWS, DIM, 10)
        < 0.8 * tuned.cost_ns
    ]
    assert all(recall(effort) < 0.9 for effort in cheaper)


def test_a_latency_is_kept_at_the_cost_of_recall(flat_world: ArrayVectors) -> None:
    plan = plan_for(IndexKind.IVF_SQFP16, ROWS)
    free = build_index(flat_world, Metric.COSINE, plan, goal=Goal(0.99))
    effort = free.plan.search_parameters
    needed = query_ns(plan, effort, ROWS, DIM, 10)
    bound = build_index(flat_world, Metric.COSINE, plan, goal=Goal(0.99, 0.8 * needed))
    spent = query_ns(plan, bound.plan.search_parameters, ROWS, DIM, 10)
    assert spent <= 0.8 * needed
    assert bound.recall.mean < free.recall.mean
    assert "latency_ms" in bound.plan.reasons[-1]


@pytest.mark.parametrize("kind", [kind for kind in IndexKind if kind.has_store])
def test_the_size_of_coded_indexes_is_told_before_they_are_built(
    kind: IndexKind, tmp_path: Path
) -> None:
    matrix = np.random.default_rng(0).standard_normal((6000, 96)).astype(np.float32)
    plan = plan_for(kind, 6000, coding=Coding(96, axes=32))
    build_index(ArrayVectors(matrix), Metric.COSINE, plan).index.save(tmp_path / "i")
    size_bytes = (tmp_path / "i").stat().st_size
    assert index_bytes(plan, 6000, 96) == pytest.approx(size_bytes, rel=0.03)


@pytest.fixture(scope="module")
def crowds() -> ArrayVectors:
    """Twelve crowds of a thousand near-copies each."""
    rows, dim = 12_000, 64
    middles = np.repeat(np.random.default_rng(2).standard_normal((12, dim)), rows // 12, axis=0)
    noise = 0.5 * np.random.default_rng(3).standard_normal((rows, dim))
    return ArrayVectors(normalised((middles + noise).astype(np.float32)))


def saved(index: VectorIndex, folder: Path) -> bytes:
    index.save(folder / "index")
    return (folder / "index").read_bytes()


def plans_for(vectors: ArrayVectors, parts: int) -> tuple[IndexPlan, IndexPlan]:
    short = plan_for(IndexKind.PQ, vectors.rows, coding=Coding(vectors.dim, parts=parts))
    return short, plan_for(IndexKind.IVF_SQFP16, vectors.rows)


def test_short_codes_that_miss_the_target_give_way_to_the_vectors(crowds: ArrayVectors) -> None:
    short, plain = plans_for(crowds, parts=4)
    assert not build_index(crowds, Metric.COSINE, short).reaches_target
    built = build_or_plain(crowds, Metric.COSINE, (short, plain), Goal(), 0)
    assert built.plan.factory == plain.factory
    assert built.reaches_target
    assert "pq4 found" in " ".join(built.plan.reasons)
    # Nothing is gained where there is no plain one, or where a query may not cost more.
    kept = build_or_plain(crowds, Metric.COSINE, (short, short), Goal(), 0)
    assert kept.plan.factory == short.factory
    bound = build_or_plain(crowds, Metric.COSINE, (short, plain), Goal(most_ns=30_000), 0)
    assert bound.plan.factory == short.factory


@pytest.mark.parametrize(("parts", "expected"), [(4, 0.6), (16, 0.89), (32, 0.99)])
def test_what_short_codes_can_find_is_told_before_they_are_filled(
    crowds: ArrayVectors, parts: int, expected: float
) -> None:
    plan, _ = plans_for(crowds, parts)
    index, training = trained_index(crowds, Metric.COSINE, plan, 0, silent)
    held = hold_back(crowds, index, 0)
    told = rehearse(index, crowds, training, held.tuning)
    assert index.rows == 0
    most = SearchParameters(index.lists, None, MOST_FACTOR)
    index.add(crowds.matrix)
    found = answer(index.with_parameters(most), held.measuring)
    recall = estimate_recall(
        measure_recall(crowds, held.measuring, [found], Metric.COSINE)[0], held.measuring.k
    )
    assert told.low - 0.02 <= recall.mean <= told.high + 0.02
    assert recall.mean == pytest.approx(expected, abs=0.02)


def test_codes_that_cannot_reach_the_target_are_not_filled(
    crowds: ArrayVectors, tmp_path: Path
) -> None:
    plans, steps = plans_for(crowds, parts=4), list[str]()
    built = build_or_plain(
        crowds,
        Metric.COSINE,
        plans,
        Goal(),
        0,
        lambda step, done: steps.extend([step] * (done == 1)),
    )
    assert steps == ["train", "train", "add", "measure"]
    alone = build_index(crowds, Metric.COSINE, built.plan.because(), 0)
    alone.index.plan = built.plan
    assert saved(built.index, tmp_path) == saved(alone.index, tmp_path)
    assert (built.recall, built.filtered, built.layout) == (
        alone.recall, alone.filtered, alone.layout,
    )  # fmt: skip


def test_codes_that_reach_the_target_are_those_of_their_plan_alone(
    crowds: ArrayVectors, tmp_path: Path
) -> None:
    plans = plans_for(crowds, parts=32)
    built = build_or_plain(crowds, Metric.COSINE, plans, Goal(), 0)
    alone = build_index(crowds, Metric.COSINE, plans[0], 0)
    assert built.plan == alone.plan
    assert saved(built.index, tmp_path) == saved(alone.index, tmp_path)
    assert built.recall == alone.recall


def test_codes_that_were_expected_to_reach_the_target_are_measured(crowds: ArrayVectors) -> None:
    plans = plans_for(crowds, parts=4)
    index, training = trained_index(crowds, Metric.COSINE, plans[0], 0, silent)
    some = hold_back(crowds, index, 0).tuning.part(0, crowds.rows // ROWS_A_QUERY)
    told = rehearse(index, crowds, training, some)
    # A thousand queries are surer than the few of the rehearsal.
    goal = Goal(told.high)
    coded = build_index(crowds, Metric.COSINE, plans[0], 0, goal)
    assert not coded.reaches_target
    built = build_or_plain(crowds, Metric.COSINE, plans, goal, 0)
    assert built.plan.factory == plans[1].factory
    assert f"pq4 found {coded.recall.mean:.3f}" in " ".join(built.plan.reasons)


def test_memory_takes_away_the_larger_rivals() -> None:
    def kinds(most: int | None) -> list[tuple[str, str]]:
        plans = rivals(1_000_000, 384, Metric.COSINE, most)
        return [(str(plan.kind), plan.codec) for plan in plans]

    free = kinds(None)
    assert [kind for kind, _ in free] == ["ivf_sqfp16", "projected", "pq", "pq", "rabitq"]
    assert {codec for _, codec in free} == {"SQfp16"}
    assert kinds(790_000_000) == [("ivf_sqfp16", "SQfp16")]
    assert kinds(500_000_000)[0] == ("ivf_sq8", "SQ8")
    assert {codec for _, codec in kinds(700_000_000)} == {"SQ8"}
    assert ("pq", "SQ8") in kinds(700_000_000)


def test_a_kind_that_was_asked_for_is_taken_or_refused_with_a_reason() -> None:
    fine, coarse = suited(IndexKind.PQ, 100_000, 64, Metric.INNER_PRODUCT)
    assert fine.factory == "IVF474,PQ32x4fsr,Refine(Flat)"
    assert coarse.factory == "IVF474,PQ16x4fsr,Refine(Flat)"
    assert fine.reasons[0] == coarse.reasons[0] == "index.kind is 'pq'."
    (odd,) = suited(IndexKind.PQ, 100_000, 63, Metric.INNER_PRODUCT)
    assert odd.factory == "IVF474,PQ63x4fsr,Refine(Flat)"
    (few,) = suited(IndexKind.RABITQ, 900, 64, Metric.COSINE)
    assert few.factory == "Flat"
    assert "too few" in few.reasons[-1]
    for kind, metric in ((IndexKind.PQ, Metric.L2), (IndexKind.IVF_SQ8, Metric.INNER_PRODUCT)):
        with pytest.raises(IndexKindError, match=rf"'{kind}' does not suit.*ivf_flat"):
            suited(kind, 100_000, 64, metric)
    with pytest.raises(IndexTooLargeError):
        suited(IndexKind.HNSW, 100_000, 64, Metric.L2, 10_000_000)


def test_a_kind_is_read_from_its_factory_string() -> None:
    for metric in Metric:
        for kind in IndexKind:
            try:
                plans = suited(kind, 50_000, 64, metric)
            except IndexKindError:
                continue
            assert {plan.kind for plan in plans} == {kind}
    assert suited(None, 10, 3, Metric.L2)[0].kind is IndexKind.FLAT


def test_no_lesser_effort_than_the_tuned_one_is_enough() -> None:
    matrix = on_few_axes(6000, 32, 16)
    vectors, goal = ArrayVectors(matrix), Goal(0.9)
    plan = plan_for(IndexKind.IVF_FLAT, 6000)
    index = VectorIndex.empty(32, Metric.COSINE, plan)
    index.train(matrix[:4000], 0)
    index.add(matrix)
    truth = ground_truth(vectors, sample(6000, 400, 1), 10, Metric.COSINE)

    def reaches(effort: SearchParameters) -> bool:
        found = answer(index.with_parameters(effort), truth)
        shares = measure_recall(vectors, truth, [found], Metric.COSINE)[0]
        return bool(shares.mean() - shares.std(ddof=1) / 20 >= goal.recall)

    ladder = effort_ladder(index)
    tuned = tune(index, vectors, truth, goal).parameters
    assert 0 < ladder.index(tuned) < len(ladder) - 1
    assert tuned == next(effort for effort in ladder if reaches(effort))


def test_within_a_bound_the_cheapest_good_effort_is_found_or_what_finds_the_most() -> None:
    matrix = on_few_axes(6000, 32, 16)
    vectors, plan = ArrayVectors(matrix), plan_for(IndexKind.PQ, 6000, coding=Coding(32, parts=8))
    index = VectorIndex.empty(32, Metric.COSINE, plan)
    index.train(matrix[:4000], 0)
    index.add(matrix)
    truth = ground_truth(vectors, sample(6000, 300, 1), 10, Metric.COSINE)
    efforts = [
        SearchParameters(step.nprobe, None, factor)
        for step in effort_ladder(index)
        for factor in (32, 16, 12, 8, 6, 5, 4, 3, 2, 1)
    ]
    answers = [answer(index.with_parameters(effort), truth) for effort in efforts]
    shares = np.array(measure_recall(vectors, truth, answers, Metric.COSINE))
    prices = np.array([query_ns(plan, effort, 6000, 32, 10) for effort in efforts])
    reached = shares.mean(axis=1) - shares.std(axis=1, ddof=1) / sqrt(300) >= 0.9
    least = prices[reached].min()
    for most in (1.2 * least, 4 * least):
        assert tune(index, vectors, truth, Goal(0.9, most)).cost_ns == least
    poor = tune(index, vectors, truth, Goal(0.9, 0.9 * least))
    assert poor.cost_ns <= 0.9 * least
    assert poor.recall >= shares.mean(axis=1)[prices <= 0.9 * least].max() - 0.02
    # Where a query costs more whatever it finds, the cheapest is taken.
    cheapest = tune(index, vectors, truth, Goal(0.9, 1.0)).parameters
    assert cheapest == SearchParameters(1, None, 1)
