"""Brute force over some rows of an index: what it finds, and when it is what costs less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.indexes.build import build_index
from models.indexes.plans import Coding, IndexKind, SearchParameters, plan_for
from models.indexes.scan import nearest_of
from models.indexes.searcher import Searcher
from models.indexes.work import filtered_ns, scan_ns
from models.types import ArrayVectors, Matrix, Metric, normalised

if TYPE_CHECKING:
    from models.indexes.layers import Layers

ROWS, DIM, K = 3000, 20, 10


@pytest.fixture(scope="module")
def vectors() -> Matrix:
    return normalised(np.random.default_rng(2).standard_normal((ROWS, DIM)).astype(np.float32))


@pytest.fixture(scope="module", params=list(IndexKind))
def layers(request: pytest.FixtureRequest, vectors: Matrix) -> Layers:
    plan = plan_for(request.param, ROWS, coding=Coding(DIM))
    return build_index(ArrayVectors(vectors), Metric.COSINE, plan).index.layers


@pytest.mark.parametrize("queries", [1, 30, 1200])  # by pairs, filled up, by matrices
@pytest.mark.parametrize("allowed", [4, 700])
def test_the_nearest_of_some_rows_are_those_of_brute_force(
    layers: Layers, vectors: Matrix, monkeypatch: pytest.MonkeyPatch, queries: int, allowed: int
) -> None:
    monkeypatch.setattr("models.indexes.scan._TILE_BYTES", 300 * 4 * DIM)  # some tiles
    rows = np.random.default_rng(3).permutation(ROWS)[:allowed].astype(np.int64)
    asked = vectors[:queries]
    found = nearest_of(layers, asked, K, rows, Metric.COSINE)
    exact = asked.astype(np.float64) @ vectors[rows].T.astype(np.float64)
    best = -np.sort(-exact, axis=1)[:, :K]
    count = min(K, allowed)
    assert (found.rows[:, count:] == -1).all()
    assert np.isneginf(found.similarities[:, count:]).all()
    np.testing.assert_allclose(found.similarities[:, :count], best, atol=0.04)
    told = np.einsum("qkd,qd->qk", vectors[found.rows[:, :count]], asked)
    np.testing.assert_allclose(found.similarities[:, :count], told, atol=0.04)
    assert np.isin(found.rows[:, :count], rows).all()


@pytest.mark.parametrize("kind", [IndexKind.HNSW, IndexKind.PQ, IndexKind.FLAT])
def test_few_rows_are_not_looked_for(
    vectors: Matrix, monkeypatch: pytest.MonkeyPatch, kind: IndexKind
) -> None:
    plan = plan_for(kind, ROWS, coding=Coding(DIM))
    index = build_index(ArrayVectors(vectors), Metric.COSINE, plan).index

    def looking(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(Searcher, "_nearest", looking)
    few = np.arange(1, 60, 2, dtype=np.int64)
    assert np.isin(index.search(vectors[:1], 3, few).rows, few).all()
    if kind is not IndexKind.FLAT:
        with pytest.raises(LookupError):
            index.search(vectors[:1], 3, np.arange(1, ROWS, 2, dtype=np.int64))


@pytest.mark.parametrize(
    ("kind", "effort", "queries", "least", "most"),
    [
        (IndexKind.HNSW, SearchParameters(ef_search=100), 1, 20_000, 100_000),
        (IndexKind.FLAT, SearchParameters(), 1, 900_000, 1_000_000),
        (IndexKind.FLAT, SearchParameters(), 1000, 900_000, 1_000_000),
        (IndexKind.PQ, SearchParameters(nprobe=16, k_factor=4.0), 1, 500, 10_000),
        (IndexKind.PQ, SearchParameters(nprobe=16, k_factor=4.0), 1000, 5_000, 50_000),
        (IndexKind.IVF_SQFP16, SearchParameters(nprobe=30), 1, 0, 10_000),
        (IndexKind.IVF_SQFP16, SearchParameters(nprobe=30), 1000, 10_000, 100_000),
    ],
)
def test_few_rows_of_a_million_are_scanned_and_many_looked_for(
    kind: IndexKind, effort: SearchParameters, queries: int, least: int, most: int
) -> None:
    rows, dim = 1_000_000, 384
    plan = plan_for(kind, rows, coding=Coding(dim))

    def is_scanned(allowed: int) -> bool:
        more = rows / allowed
        harder = SearchParameters(
            min(plan.lists, int((effort.nprobe or 0) * more ** (2 / 3))) or None,
            min(rows, int((effort.ef_search or 0) * more)) or None,
            effort.k_factor,
        )
        scan = scan_ns(plan, rows, dim, allowed, queries, by_matrices=queries > 50)
        return scan < queries * filtered_ns(plan, harder, rows, dim, K, allowed)

    scanned = [
        allowed
        for allowed in (
            1,
            10,
            100,
            500,
            1000,
            5000,
            10_000,
            20_000,
            50_000,
            100_000,
            200_000,
            500_000,
            900_000,
        )
        if is_scanned(allowed)
    ]
    assert least <= max(scanned, default=0) < most
    assert all(is_scanned(allowed) for allowed in range(1, least, max(1, least // 50)))
