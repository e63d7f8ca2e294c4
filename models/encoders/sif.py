"""Smooth inverse frequency: the vector of a document from the vectors of its words.

Arora, Liang & Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings" (ICLR 2017),
algorithm 1. The vector of a document d is

    s(d) = 1/|d| sum over w in d of  a / (a + p(w)) v(w),      then      s(d) - u (u . s(d))

where p(w) is the word's share of the corpus and u the first right singular vector of the matrix of
all s(d). Here u is computed once, from a sample of the training corpus. The projection is linear,
so that it is done on the word vectors, and a document's vector depends on nothing but its words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.types import Matrix

WordIds = npt.NDArray[np.int32]
"""The words of one document as rows of the word vectors, in their order, repeats included."""

Frequencies = npt.NDArray[np.float64]
"""p(w): each word's share of the corpus; sums to 1."""

# Mandelbrot's shift for English, see `zipf_frequencies`.
_ZIPF_SHIFT: Final = 2.7


def sif_weighted(vectors: Matrix, frequencies: Frequencies, a: float) -> Matrix:
    """Scale each word's vector by a / (a + p(word)).

    Args:
        vectors: (words, dim) float32.
        frequencies: (words,) float64.
        a: the larger, the nearer to a plain mean; the paper finds 1e-3 to 1e-4 best.

    Returns:
        (words, dim) float32.
    """
    weights = a / (a + frequencies)
    return (vectors * weights[:, None]).astype(np.float32)


def mean_of_words(documents: Sequence[WordIds], table: Matrix) -> Matrix:
    """Average the table's rows for each document, as one product with a sparse matrix.

    The product adds up each document's rows on its own, in the order of its words, so that its
    bits do not depend on the other documents.

    Args:
        documents: word ids; an empty document has the zero vector.
        table: (words, dim) float32.

    Returns:
        (len(documents), dim) float32.
    """
    if not documents:
        return np.zeros((0, table.shape[1]), dtype=np.float32)
    lengths = np.fromiter((len(ids) for ids in documents), dtype=np.int64, count=len(documents))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shares = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(np.float32)
    counts = sparse.csr_matrix(
        (shares, np.concatenate(documents), starts), shape=(len(documents), table.shape[0])
    )
    return np.asarray(counts @ table, dtype=np.float32)


def common_component(documents: Matrix) -> npt.NDArray[np.float64]:
    """Return the first right singular vector, the direction that most documents share.

    The matrix is not centred, as in the paper. The sign, which the projection does not see, is
    fixed so that the same documents give the same bytes.

    Args:
        documents: (n, dim) float32.

    Returns:
        (dim,) float64 of length 1, or zeros where all documents are zero.
    """
    exact = documents.astype(np.float64)
    gram = exact.T @ exact
    if not gram.any():
        return np.zeros(documents.shape[1])
    component: npt.NDArray[np.float64] = np.linalg.eigh(gram)[1][:, -1]
    component *= np.sign(component[np.abs(component).argmax()])
    return component


def without_component(vectors: Matrix, component: npt.NDArray[np.floating]) -> Matrix:
    """Project a direction out of each row.

    Args:
        vectors: (n, dim) float32.
        component: (dim,) of length 1, or zeros, which change nothing.

    Returns:
        (n, dim) float32.
    """
    direction = component.astype(np.float64)
    shares = vectors.astype(np.float64) @ direction
    return (vectors - np.outer(shares, direction)).astype(np.float32)


def zipf_frequencies(words: int) -> Frequencies:
    """Estimate p(word) from the rank alone, for vectors that come without counts.

    The Zipf-Mandelbrot law p(r) ~ 1 / (r + 2.7), with the constants for English of Piantadosi,
    "Zipf's word frequency law in natural language" (Psychonomic Bulletin & Review 21, 2014).
    The files of GloVe and word2vec list their words from the most frequent down.
    """
    shares = 1.0 / (np.arange(1, words + 1, dtype=np.float64) + _ZIPF_SHIFT)
    total: np.float64 = shares.sum()
    return np.divide(shares, total)
