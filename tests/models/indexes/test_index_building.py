"""Choosing, tuning, measuring and storing indexes; what every kind does is in tests/contracts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.indexes.build import build_index
from models.indexes.errors import IndexFileError, InvalidVectorsError
from models.indexes.exact import exact_search
from models.indexes.faiss_library import library
from models.indexes.filtered import filtered_recall
from models.indexes.plans import (
    Coding,
    IndexKind,
    IndexPlan,
    SearchParameters,
    plan_for,
)
from models.indexes.recall import GroundTruth, estimate_recall, ground_truth, measure_recall
from models.indexes.results import NO_ROW, Neighbours
from models.indexes.rivals import choose_index
from models.indexes.streams import sample, sample_others, take
from models.indexes.tuning import Goal, tune
from models.indexes.vector_index import VectorIndex
from models.types import ArrayVectors, Matrix, Metric, RowIds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Chunked:
    """`Vectors` that come in uneven chunks, whatever is asked, and count their passes."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix, self.passes = matrix, 0

    @property
    def rows(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def dim(self) -> int:
        return int(self.matrix.shape[1])

    def batches(self, rows: int) -> Iterator[Matrix]:
        self.passes += 1
        start = 0
        for size in (1, 7, 64, *[100] * self.rows):
            if start >= self.rows:
                return
            yield self.matrix[start : start + min(size, rows)]
            start += min(size, rows)

    def subset(self, rows: RowIds) -> Chunked:
        self.passes += 1
        return Chunked(self.matrix[rows])


def gaussian(rows: int, dim: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@given(
    rows=st.integers(1, 200_000_000), dim=st.integers(1, 4096), metric=st.sampled_from(list(Metric))
)
def test_a_plan_has_training_rows_for_its_lists(rows: int, dim: int, metric: Metric) -> None:
    plan = choose_index(rows, dim, metric)
    assert plan.reasons
    assert plan.training_rows <= rows
    lists = re.match(r"IVF(\d+)", plan.factory)
    if lists:
        assert 39 * int(lists[1]) <= plan.training_rows
        assert rows * dim > 8_000_000
    else:
        assert plan.factory == "Flat"


@pytest.mark.parametrize(
    ("rows", "dim", "metric", "factory"),
    [
        (20_000, 2048, Metric.L2, "Flat"),
        (40_000, 100, Metric.COSINE, "Flat"),
        (100_000, 384, Metric.COSINE, "IVF948,SQfp16"),
        (100_000, 384, Metric.L2, "IVF948,Flat"),
        (20_000_000, 768, Metric.COSINE, "IVF13416_HNSW32,SQ8"),
    ],
)
def test_size_and_metric_choose_the_kind(rows: int, dim: int, metric: Metric, factory: str) -> None:
    assert choose_index(rows, dim, metric).factory == factory


@pytest.mark.parametrize("kind", list(IndexKind))
@pytest.mark.parametrize("rows", [1, 2, 3, 30])
def test_tiny_sets_are_indexed_silently(
    kind: IndexKind, rows: int, capfd: pytest.CaptureFixture[str]
) -> None:
    vectors = gaussian(rows, 5)
    plan = plan_for(kind, rows, coding=Coding(5))
    built = build_index(ArrayVectors(vectors), Metric.COSINE, plan)
    found = built.index.search(vectors, 1)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(rows))
    np.testing.assert_allclose(found.similarities[:, 0], 1.0, atol=5e-2)
    assert capfd.readouterr() == ("", "")


def test_no_vectors_make_an_index_without_answers() -> None:
    built = build_index(ArrayVectors(gaussian(0, 5)), Metric.L2)
    assert built.recall.queries == 0
    assert (built.index.search(gaussian(2, 5), 3).rows == -1).all()


def test_tuning_takes_the_least_effort_that_reaches_the_target() -> None:
    vectors = ArrayVectors(gaussian(4000, 16))
    built = build_index(vectors, Metric.L2, plan_for(IndexKind.IVF_FLAT, 4000), goal=Goal(0.8))
    truth = ground_truth(vectors, sample(4000, 200, 1), 10, Metric.L2)
    found = tune(built.index, vectors, truth, Goal(0.8)).parameters
    probes = built.index.plan.search_parameters.nprobe
    assert probes is not None
    assert found.nprobe is not None
    assert 1 < probes < (built.index.lists or 0)

    def recall(nprobe: int) -> float:
        index = built.index.with_parameters(SearchParameters(nprobe=nprobe))
        found = index.search(truth.queries, 11).without(truth.rows)
        return float(measure_recall(vectors, truth, [found], Metric.L2)[0].mean())

    assert recall(found.nprobe) >= 0.8
    assert recall(int(found.nprobe / 1.5)) < 0.8
    assert f"nprobe {probes}" in built.plan.reasons[-1]


def test_a_target_out_of_reach_takes_what_finds_the_most_and_says_so() -> None:
    # Sixteen values a dimension cannot tell neighbours apart, whatever the effort.
    plan = IndexPlan("IVF8,SQ4", SearchParameters(), 1000, ())
    built = build_index(ArrayVectors(gaussian(1200, 4)), Metric.L2, plan)
    assert not built.reaches_target
    assert built.recall.high < 0.95
    assert built.plan.search_parameters.nprobe in (3, 4, 6, 8)  # more lists find nothing more
    assert "is the most that any effort of this kind finds" in built.plan.reasons[-1]


@pytest.mark.parametrize("kind", [IndexKind.HNSW, IndexKind.IVF_FLAT])
@pytest.mark.parametrize("count", [1, 10, 60, 250])
def test_all_allowed_rows_are_found_where_more_are_asked_for(kind: IndexKind, count: int) -> None:
    vectors = gaussian(3000, 16)
    index = build_index(ArrayVectors(vectors), Metric.COSINE, plan_for(kind, 3000)).index
    allowed = np.sort(np.random.default_rng(count).choice(3000, count, replace=False))
    found = index.search(vectors[:20], count + 5, allowed).rows
    assert (np.sort(found[:, :count], axis=1) == allowed).all()
    assert (found[:, count:] == NO_ROW).all()


def test_tuning_does_not_chase_one_of_several_equals() -> None:
    vectors = ArrayVectors(np.ones((1000, 4), dtype=np.float32))
    index = build_index(vectors, Metric.COSINE, plan_for(IndexKind.IVF_FLAT, 1000)).index
    rows = sample(900, 50, 0)
    # A truth that names the last copies, while a search meets the first ones first.
    true = Neighbours(np.tile(np.arange(990, 1000), (50, 1)), np.ones((50, 10), dtype=np.float32))
    truth = GroundTruth(rows, take(vectors, rows), true)
    assert tune(index, vectors, truth, Goal(0.95)).parameters.nprobe == 1


def test_measuring_forgives_ties_and_nothing_else() -> None:
    vectors = ArrayVectors(np.array([[0], [1], [-1], [2], [5]], dtype=np.float32))
    truth = ground_truth(vectors, np.array([0]), 1, Metric.L2)
    answers = [
        Neighbours(np.array([[row]]), np.zeros((1, 1), dtype=np.float32)) for row in (1, 2, 3, -1)
    ]
    assert [s.tolist() for s in measure_recall(vectors, truth, answers, Metric.L2)] == [
        [1.0], [1.0], [0.0], [0.0],
    ]  # fmt: skip


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        # Recalls of one query hang together: beta-binomial with mean .9.
        shares = random.binomial(10, random.beta(4.5, 0.5, size=200)) / 10
        recall = estimate_recall(shares, 10)
        assert recall.low <= recall.mean <= recall.high
        covered += recall.low <= 0.9 <= recall.high
    assert 0.92 <= covered / 400 <= 0.98


def test_a_perfect_sample_is_no_proof() -> None:
    recall = estimate_recall(np.ones(100), 10)
    assert recall.mean == recall.high == 1.0
    assert recall.low == pytest.approx(0.963, abs=1e-3)  # Wilson's 100 of 100


@given(
    rows=st.integers(1, 260), k=st.integers(1, 12), metric=st.sampled_from(list(Metric)),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_stream_is_searched_as_one_matrix(rows: int, k: int, metric: Metric, seed: int) -> None:
    matrix = gaussian(rows, 6, seed)
    queries = gaussian(5, 6, seed + 1)
    found = exact_search(Chunked(matrix), queries, k, metric)
    x, q = matrix.astype(np.float64), queries.astype(np.float64)
    if metric is Metric.COSINE:
        x, q = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (x, q))
    true = -np.square(q[:, None] - x[None]).sum(2) if metric is Metric.L2 else q @ x.T
    expected = np.full((5, k), -np.inf)
    expected[:, : min(k, rows)] = -np.sort(-true, axis=1)[:, :k]
    np.testing.assert_allclose(found.similarities, expected, atol=1e-4)
    filled = found.rows >= 0
    np.testing.assert_allclose(
        np.take_along_axis(true, np.maximum(found.rows, 0), 1)[filled], expected[filled], atol=1e-4
    )


@given(rows=st.integers(1, 150), wanted=st.lists(st.integers(0, 149), max_size=30))
def test_taken_rows_come_in_the_order_of_the_wish(rows: int, wanted: list[int]) -> None:
    matrix = gaussian(rows, 3)
    chosen = np.array([w % rows for w in wanted], dtype=np.int64)
    np.testing.assert_array_equal(take(Chunked(matrix), chosen), matrix[chosen])


@given(rows=st.integers(1, 60), taken=st.integers(0, 60), size=st.integers(0, 60))
def test_a_sample_of_the_others_is_none_of_those_taken(rows: int, taken: int, size: int) -> None:
    held = sample(rows, min(taken, rows), 3)
    others = sample_others(rows, size, 4, held)
    assert others.size == min(size, rows - held.size) == np.unique(others).size
    assert np.isin(others, np.setdiff1d(np.arange(rows), held)).all()


def test_building_reads_the_stream_a_fixed_number_of_times() -> None:
    vectors = Chunked(gaussian(2000, 8))
    build_index(vectors, Metric.L2, plan_for(IndexKind.IVF_FLAT, 2000))
    # Training sample, filling, queries, truth; ties once while tuning and once while measuring.
    assert vectors.passes <= 6


def test_steps_are_reported_to_their_end() -> None:
    seen: list[tuple[str, float]] = []
    plan = plan_for(IndexKind.IVF_FLAT, 500)
    build_index(
        ArrayVectors(gaussian(500, 4)), Metric.L2, plan, progress=lambda s, f: seen.append((s, f))
    )
    assert [step for step, fraction in seen if fraction == 1.0] == ["train", "add", "measure"]


def test_vectors_that_are_not_finite_stop_the_build() -> None:
    vectors = gaussian(50, 4)
    vectors[11, 2] = np.inf
    with pytest.raises(InvalidVectorsError, match="first at 11"):
        build_index(ArrayVectors(vectors), Metric.COSINE)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "words.faiss"
    build_index(ArrayVectors(gaussian(100, 4)), Metric.COSINE).index.save(path)
    return path


def test_plain_faiss_reads_the_file(saved: Path) -> None:
    assert library().read_index(str(saved)).ntotal == 100


@pytest.mark.parametrize("cut", [1, 30, 400, 1500])
def test_a_file_cut_short_is_told_apart(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:-cut])
    with pytest.raises(IndexFileError, match="cut short or no index"):
        VectorIndex.load(saved)


def test_a_file_with_a_hole_is_told_apart(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[:500] + content[600:])
    with pytest.raises(IndexFileError, match="length is not what its trailer says"):
        VectorIndex.load(saved)


def test_a_damaged_body_or_trailer_is_told_apart(saved: Path) -> None:
    content = saved.read_bytes()
    for at in (0, 4, 40, 500):  # among them the sizes that FAISS believes
        saved.write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
        with pytest.raises(IndexFileError, match="a byte of it has changed"):
            VectorIndex.load(saved)
    saved.write_bytes(content.replace(b'"metric": "cosine"', b'"metric": "cosmic"'))
    with pytest.raises(IndexFileError, match="trailer is damaged"):
        VectorIndex.load(saved)


@pytest.mark.parametrize("length", [0, 2**20 + 1, 2**62, 2**64 - 1])
def test_a_trailer_s_own_length_is_not_believed(saved: Path, length: int) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[:-16] + length.to_bytes(8, "little") + content[-8:])
    with pytest.raises(IndexFileError, match=r"length is not|trailer is damaged"):
        VectorIndex.load(saved)


def test_a_missing_file_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match=r"No such file.*'latentlake index' writes it anew"):
        VectorIndex.load(tmp_path / "none.faiss")


def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    index = VectorIndex.load(saved)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        index.save(saved, fingerprint="new")
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("kind", [IndexKind.IVF_FLAT, IndexKind.PQ])
def test_recall_among_a_tenth_of_the_rows_is_that_of_all_queries(kind: IndexKind) -> None:
    matrix = gaussian(4000, 16)
    built = build_index(ArrayVectors(matrix), Metric.COSINE, plan_for(kind, 4000, (), Coding(16)))
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    allowed = np.sort(np.random.default_rng(3).choice(4000, 400, replace=False))
    similarities = unit @ unit[allowed].T
    similarities[allowed, np.arange(400)] = -np.inf
    true = allowed[np.argsort(-similarities, axis=1)[:, :10]]
    parts = [built.index.search(matrix[at : at + 1], 11, allowed) for at in range(4000)]
    rows = np.concatenate([part.rows for part in parts])
    others = Neighbours(rows, np.zeros(rows.shape, np.float32)).without(np.arange(4000)).rows
    share = (others[:, :, None] == true[:, None, :]).any(axis=1).mean()
    assert built.filtered is not None
    assert (built.filtered.k, built.filtered.queries) == (10, 250)
    assert built.filtered.low - 0.02 <= share <= built.filtered.high + 0.02
    assert share >= 0.9


def test_recall_among_a_tenth_is_measured_through_other_row_numbers_alike() -> None:
    matrix = gaussian(3000, 16)
    built = build_index(ArrayVectors(matrix), Metric.COSINE, plan_for(IndexKind.FLAT, 3000))
    order = np.random.default_rng(4).permutation(3000)[:2500]  # what lives, in another order
    row_of = np.full(3000, -1, np.int64)
    row_of[order] = np.arange(2500)
    alive = ArrayVectors(matrix[order])
    asked = np.arange(0, 2500, 10, dtype=np.int64)
    found = filtered_recall(built.index, alive, asked, 10, seed=0, row_of=row_of)
    assert found is not None
    assert (found.k, found.queries, found.mean) == (10, 250, 1.0)
    wrong = filtered_recall(built.index, alive, asked, 10, seed=0, row_of=row_of[::-1])
    assert wrong is not None
    assert wrong.mean < 0.1
