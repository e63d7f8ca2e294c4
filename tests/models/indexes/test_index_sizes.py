"""Which index is chosen where memory is short."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.indexes.build import build_index
from models.indexes.errors import IndexTooLargeError
from models.indexes.plans import IndexKind, index_bytes, plan_for
from models.indexes.rivals import choose_index
from models.types import ArrayVectors, Metric

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE = 10**6


@pytest.mark.parametrize(
    ("rows", "dim", "most", "factory"),
    [
        (1_000_000, 384, 800, "IVF3000,SQfp16"),
        (1_000_000, 384, 700, "IVF3000,SQ8"),
        (1_000_000, 384, 397, "IVF3000,SQ8"),
        (20_000, 2048, 200, "Flat"),
        (20_000, 2048, 100, "IVF424,SQfp16"),
    ],
)
def test_an_index_that_would_not_fit_is_coded_coarser(
    rows: int, dim: int, most: int, factory: str
) -> None:
    unlimited = choose_index(rows, dim, Metric.COSINE)
    plan = choose_index(rows, dim, Metric.COSINE, most * MEGABYTE)
    assert plan.factory == factory
    assert index_bytes(plan, rows, dim) <= most * MEGABYTE
    if plan.factory != unlimited.factory:
        assert f"{unlimited.factory} would take" in plan.reasons[0]
        assert f"limits.memory leaves {most}" in plan.reasons[0]


@pytest.mark.parametrize(
    ("metric", "most", "needed"),
    [(Metric.COSINE, 390, 396), (Metric.L2, 1500, 1548), (Metric.INNER_PRODUCT, 800, 1548)],
)
def test_an_index_that_cannot_fit_is_refused(metric: Metric, most: int, needed: int) -> None:
    with pytest.raises(IndexTooLargeError, match=rf"takes {needed} MB, {most} are its share"):
        choose_index(1_000_000, 384, metric, most * MEGABYTE)


@pytest.mark.parametrize("dim", [40, 33])
@pytest.mark.parametrize(
    "kind", [kind for kind in IndexKind if kind is not IndexKind.HNSW and not kind.has_store]
)
def test_the_size_of_an_index_is_told_before_it_is_built(
    kind: IndexKind, dim: int, tmp_path: Path
) -> None:
    plan = plan_for(kind, 6000)
    matrix = np.random.default_rng(0).standard_normal((6000, dim)).astype(np.float32)
    vectors = ArrayVectors(matrix)
    build_index(vectors, Metric.COSINE, plan).index.save(tmp_path / "i")
    size_bytes = (tmp_path / "i").stat().st_size
    assert index_bytes(plan, 6000, dim) == pytest.approx(size_bytes, rel=0.02)
