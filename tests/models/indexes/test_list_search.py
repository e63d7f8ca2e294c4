"""Lists that are met by many queries at once: the same by any number of threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.indexes.faiss_library import library, use_threads
from models.indexes.layers import Layers
from models.indexes.list_search import ListSearch
from models.types import normalised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.types import Matrix

ROWS, DIM, LISTS, K = 6000, 32, 40, 10


@pytest.fixture(scope="module")
def vectors() -> Matrix:
    random = np.random.default_rng(3)
    centres = random.standard_normal((60, DIM))
    rows = centres[random.integers(0, 60, ROWS)] + 0.5 * random.standard_normal((ROWS, DIM))
    return normalised(rows.astype(np.float32))


@pytest.fixture(scope="module")
def layers(vectors: Matrix) -> Layers:
    index = library().index_factory(DIM, f"IVF{LISTS},Flat", library().METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return Layers.of(index)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = library().omp_get_max_threads()
    yield
    use_threads(before)


@pytest.mark.usefixtures("own_threads")
def test_all_threads_work_and_find_the_same(
    layers: Layers, vectors: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = vectors @ vectors.T
    true = np.argpartition(-exact, K, axis=1)[:, :K]
    unpacked: set[int] = set()
    codes = Layers.codes

    def watched(self: Layers, *arguments: Any) -> Matrix:
        unpacked.add(threading.get_ident())
        return codes(self, *arguments)

    monkeypatch.setattr(Layers, "codes", watched)
    answers = []
    for threads in (1, 2):
        unpacked.clear()
        use_threads(threads)
        answers.append(ListSearch(layers, 8).nearest(vectors, K))
        assert (threading.get_ident() in unpacked) == (threads == 1)
        assert len(unpacked) <= threads
    for one, other in zip(*answers, strict=True):
        assert np.array_equal(one, other)
    similarities, rows = answers[0]
    assert np.allclose(similarities, np.take_along_axis(exact, rows, axis=1), atol=1e-5)
    least = np.take_along_axis(exact, true, axis=1).min(axis=1)
    assert (similarities >= least[:, None] - 1e-5).mean() >= 0.9
