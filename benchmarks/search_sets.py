"""Vectors and queries for the benchmarks of search, all of length 1."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

import numpy as np

from models.types import normalised

if TYPE_CHECKING:
    from pathlib import Path

    from models.types import Matrix

QUERIES: Final = 2000


def fashion(datasets: Path) -> tuple[Matrix, Matrix]:
    """Return the pictures and the queries, of length 1."""

    def pictures(name: str) -> Matrix:
        with gzip.open(datasets / "fashion_mnist" / name) as file:
            raw = np.frombuffer(file.read(), np.uint8, offset=16)
        return normalised(raw.reshape(-1, 784).astype(np.float32))

    images = "-images-idx3-ubyte.gz"
    return pictures(f"train{images}"), pictures(f"t10k{images}")[:QUERIES]


def clustered() -> tuple[Matrix, Matrix]:
    """Return the vectors and the queries that the head describes."""
    rows, dim, groups, inside = 100_000 + QUERIES, 384, 300, 24
    random = np.random.default_rng(0)
    centres = random.standard_normal((groups, dim)).astype(np.float32)
    group = random.integers(0, groups, rows)
    directions = random.standard_normal((groups, inside, dim)).astype(np.float32)
    directions /= np.sqrt(inside)
    places = random.standard_normal((rows, inside)).astype(np.float32)
    vectors = 0.02 * random.standard_normal((rows, dim)).astype(np.float32) + centres[group]
    for one in range(groups):
        members = group == one
        vectors[members] += 0.5 * places[members] @ directions[one]
    return normalised(vectors[:-QUERIES]), normalised(vectors[-QUERIES:])


def own(path: Path) -> tuple[Matrix, Matrix]:
    """Return the vectors of a .npy and the last ones as queries, of length 1."""
    vectors = normalised(np.load(path).astype(np.float32))
    return vectors[:-QUERIES], vectors[-QUERIES:]
