"""Searches by a copy of an index on a GPU, against brute force and the processor's answers.

No GPU is needed: a stand-in for FAISS's four names hands out a copy that the processor searches
and that refuses what a GPU index refuses. The test marked `gpu` runs the same on a real one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from latentlake.errors import ConfigError
from models.indexes.build import build_index
from models.indexes.cuda import MOST_SELECTED, CudaIndex, reason_to_stay
from models.indexes.faiss_library import cuda_library, library
from models.indexes.plans import Coding, IndexKind, SearchParameters, plan_for
from models.types import ArrayVectors, Matrix, Metric

if TYPE_CHECKING:
    from models.indexes.results import Neighbours
    from models.indexes.vector_index import VectorIndex

ROWS, DIM, K = 3000, 22, 10
COPIED = {IndexKind.FLAT, IndexKind.IVF_FLAT, IndexKind.IVF_SQFP16, IndexKind.IVF_SQ8}
CASES = [
    (IndexKind.FLAT, Metric.COSINE),
    (IndexKind.FLAT, Metric.L2),
    (IndexKind.IVF_FLAT, Metric.L2),
    (IndexKind.IVF_FLAT, Metric.INNER_PRODUCT),
    (IndexKind.IVF_SQFP16, Metric.COSINE),
    (IndexKind.IVF_SQ8, Metric.COSINE),
]


@dataclass
class Gpu:
    """What FAISS lends for a GPU."""

    asked: list[int] = field(default_factory=list)
    """k of each search."""
    copies: int = 0

    def copy(self, resources: Any, device: int, index: Any, options: Any) -> Any:
        assert resources == "resources"
        assert device == 0
        assert options.use_cuvs is False
        self.copies += 1
        mirror = library().clone_index(index)

        def search(queries: Matrix, k: int, params: Any) -> Any:
            inner = getattr(params, "index_params", params)
            assert k <= MOST_SELECTED
            assert inner is None or inner.sel is None
            assert getattr(inner, "nprobe", 0) <= MOST_SELECTED
            self.asked.append(k)
            return mirror.search(queries, k, params=params)

        return SimpleNamespace(search=search)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    made = Gpu()
    for name, value in {
        "StandardGpuResources": lambda: "resources",
        "GpuClonerOptions": SimpleNamespace,
        "get_num_gpus": lambda: 1,
        "index_cpu_to_gpu": made.copy,
    }.items():
        monkeypatch.setattr(library(), name, value, raising=False)
    return made


def vectors() -> Matrix:
    random = np.random.default_rng(5)
    centres = random.standard_normal((30, DIM))
    rows = centres[random.integers(0, 30, ROWS)] + 0.4 * random.standard_normal((ROWS, DIM))
    return rows.astype(np.float32)


def built(kind: IndexKind, metric: Metric) -> VectorIndex:
    plan = plan_for(kind, ROWS, coding=Coding(DIM, "SQfp16", axes=16))
    return build_index(ArrayVectors(vectors()), metric, plan).index


def similarities(queries: Matrix, metric: Metric) -> Any:
    x, q = vectors().astype(np.float64), queries.astype(np.float64)
    if metric is Metric.L2:
        return -np.square(q[:, None] - x[None]).sum(axis=2)
    if metric is Metric.COSINE:
        x, q = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, q))
    return q @ x.T


def assert_same(found: Neighbours, expected: Neighbours) -> None:
    """The same neighbours; those that are as near as each other may change places."""
    np.testing.assert_allclose(found.similarities, expected.similarities, atol=1e-4)
    assert (found.rows == expected.rows).mean() > 0.99


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_the_copy_answers_as_brute_force_does(gpu: Gpu, kind: IndexKind, metric: Metric) -> None:
    index = built(kind, metric)
    every = index.with_parameters(SearchParameters(nprobe=index.lists))
    queries = vectors()[:40] + np.float32(0.05)
    found = CudaIndex(every).search(queries, K)
    assert gpu.asked == [K]
    true = np.sort(similarities(queries, metric))[:, ::-1][:, :K]
    np.testing.assert_allclose(found.similarities, true, atol=3e-2 if "sq" in kind else 1e-3)
    assert_same(CudaIndex(index).search(queries, K), index.search(queries, K))


@pytest.mark.gpu
@pytest.mark.skipif(library().get_num_gpus() == 0, reason="FAISS sees no CUDA device here")
@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_the_gpu_answers_as_the_processor_does(kind: IndexKind, metric: Metric) -> None:
    index, queries = built(kind, metric), vectors()[:40] + np.float32(0.05)
    copy, allowed = CudaIndex(index), np.arange(100, ROWS)
    assert_same(copy.search(queries, K), index.search(queries, K))
    assert_same(copy.search(queries, K, allowed), index.search(queries, K, allowed))
    assert_same(copy.search(queries[:1], ROWS), index.search(queries[:1], ROWS))


@pytest.mark.parametrize("kind", [IndexKind.FLAT, IndexKind.IVF_FLAT])
def test_few_rows_that_may_not_be_found_are_left_out(gpu: Gpu, kind: IndexKind) -> None:
    index = built(kind, Metric.L2)
    every = index.with_parameters(SearchParameters(nprobe=index.lists))
    queries = vectors()[:20]
    allowed = np.arange(150, ROWS)  # so that no query finds itself
    found = CudaIndex(every).search(queries, K, allowed)
    assert gpu.asked == [K + 150]
    assert found.rows.shape == (20, K)
    assert found.rows.min() >= 150
    true = np.sort(similarities(queries, Metric.L2)[:, 150:])[:, ::-1][:, :K]
    np.testing.assert_allclose(found.similarities, true, atol=1e-3)


def test_what_a_gpu_cannot_select_the_processor_does(gpu: Gpu) -> None:
    index = built(IndexKind.IVF_FLAT, Metric.L2)
    copy, queries = CudaIndex(index), vectors()[:5]
    few = np.arange(ROWS - MOST_SELECTED, dtype=np.int64)
    assert_same(copy.search(queries, K, few), index.search(queries, K, few))
    assert_same(copy.search(queries, ROWS), index.search(queries, ROWS))
    nothing = np.empty(0, np.int64)
    assert (copy.search(queries, K, nothing).rows == -1).all()
    assert (gpu.asked, gpu.copies) == ([], 0)


def test_queries_whose_lists_hold_too_few_are_searched_further(gpu: Gpu) -> None:
    index = built(IndexKind.IVF_FLAT, Metric.L2).with_parameters(SearchParameters(nprobe=1))
    most = int(index.list_lengths.max())
    found = CudaIndex(index).search(vectors()[:8], most + 50)
    assert gpu.asked == [most + 50]
    assert (found.rows >= 0).all()
    assert (np.diff(found.similarities) <= 0).all()


def test_one_copy_serves_all_searches(gpu: Gpu) -> None:
    copy = CudaIndex(built(IndexKind.FLAT, Metric.COSINE))
    for _ in range(3):
        copy.search(vectors()[:2], K)
    assert (gpu.copies, len(gpu.asked)) == (1, 3)


@pytest.mark.parametrize("kind", IndexKind)
def test_what_faiss_cannot_copy_stays(kind: IndexKind) -> None:
    plan = plan_for(kind, ROWS, coding=Coding(DIM, "SQfp16", axes=16))
    reason = reason_to_stay(plan)
    assert (reason is None) == (kind in COPIED)
    assert reason is None or plan.factory in reason


def test_lists_that_a_graph_finds_stay() -> None:
    plan = plan_for(IndexKind.IVF_SQFP16, ROWS)
    many = replace(plan, factory="IVF9000_HNSW32,SQfp16")
    assert "found by HNSW" in str(reason_to_stay(many))


def test_a_gpu_that_refuses_the_copy_is_named(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("Error in allocMemory:\n cudaMalloc error out of memory [2]")

    monkeypatch.setattr(library(), "index_cpu_to_gpu", refuse)
    copy = CudaIndex(built(IndexKind.FLAT, Metric.COSINE))
    with pytest.raises(ConfigError, match=r"'cpu' the processor.*cudaMalloc error out of memory"):
        copy.search(vectors()[:2], K)
    assert gpu.copies == 0


def test_without_faiss_for_gpus_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(library(), "StandardGpuResources", raising=False)
    with pytest.raises(ConfigError, match=r"pip install '\.\[gpu\]'"):
        cuda_library()


def test_without_a_device_its_absence_is_named(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda_library() is library()
    monkeypatch.setattr(library(), "get_num_gpus", lambda: 0)
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        cuda_library()
    assert gpu.copies == 0
