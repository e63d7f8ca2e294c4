"""Published word vectors: gensim as the oracle, damage as the enemy."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gensim.models import KeyedVectors

from latentlake.errors import ConfigError
from models.encoders.published_vectors import detect_format, load_word_vectors
from models.encoders.sif import zipf_frequencies

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ("the", "of", "Berlin", "naïve", "水", "apple", "Apple", "New_York", "13")
DIM = 5
VECTORS = np.random.default_rng(3).normal(size=(len(WORDS), DIM)).astype(np.float32)
FORMATS = ("word2vec-binary", "word2vec-text", "glove")


def published(folder: Path, kind: str, *, zipped: bool = False) -> Path:
    """Write the vectors as gensim does; GloVe's format is the text without its header."""
    known = KeyedVectors(DIM)
    known.add_vectors(list(WORDS), VECTORS)
    path = folder / f"vectors.{kind}"
    known.save_word2vec_format(str(path), binary=kind == "word2vec-binary", sort_attr=None)
    if kind == "glove":
        path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    if zipped:
        path.with_suffix(path.suffix + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(path.suffix + ".gz")
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("wanted", ["auto", "given"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_published_format(tmp_path: Path, kind: str, wanted: str, zipped: bool) -> None:
    path = published(tmp_path, kind, zipped=zipped)
    assert detect_format(path) == kind
    loaded = load_word_vectors(path, kind if wanted == "given" else "auto")
    assert loaded.words == WORDS
    assert loaded.counts is None
    np.testing.assert_allclose(loaded.vectors, VECTORS, atol=1e-6)
    np.testing.assert_array_equal(loaded.frequencies(), zipf_frequencies(len(WORDS)))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_limit_reads_the_first(tmp_path: Path, kind: str) -> None:
    loaded = load_word_vectors(published(tmp_path, kind), limit=3)
    assert loaded.words == WORDS[:3]
    np.testing.assert_allclose(loaded.vectors, VECTORS[:3], atol=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"no numbers here\n",
        b"4000000000 300\nthe ",
        b"3 2\nthe 1 2\nof 1\n",
        b"2 2\nthe 1 2\n",
        b"the 1 2\nof nan 2\n",
        b"\x1f\x8b not gzip",
        b"5 0\nthe\n",
        b"the 1 2\nof 1 2 x\n",
    ],
)
def test_a_file_that_is_not_one_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.txt"):
        load_word_vectors(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read word vectors"):
        load_word_vectors(tmp_path / "none.bin")


def test_words_with_spaces_and_repeated_words(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("the 1 2 3\n. . . 4 5 6\nthe 7 8 9\n")
    loaded = load_word_vectors(path)
    assert loaded.words == ("the", ". . .")
    np.testing.assert_array_equal(loaded.vectors, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("kind", ["word2vec-binary", "word2vec-text"])
def test_a_file_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    path = published(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigError, match="cannot read word vectors"):
        load_word_vectors(path)
