"""Published word vectors: gensim as the oracle, damage as the enemy."""

from __future__ import annotations

import gzip
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gensim.models import KeyedVectors

from latentlake.errors import ConfigError
from models.encoders.published_vectors import detect_format, load_word_vectors
from models.encoders.sif import zipf_frequencies

if TYPE_CHECKING:
    from collections.abc import Sequence
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
        b"the 1 2\nof 1\n",
        b"300 2\n" + b"the 1 2\n" * 290,
        b"PK\x03\x04 zipped",
        b"\xba\x16\x4f\x2f\x0c\x00\x00\x00",
        b"\x80\x04\x95 pickled",
        b"1 99999999999999999999\nthe 1\n",
        b"2 3\n\xff\xfe\n\x00\x00",
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


def fasttext(path: Path, *, promised: int, words: Sequence[str]) -> Path:
    """Write a .vec file as fastText does: a space behind each number."""
    rows = (
        f"{word} " + "".join(f"{number:.4f} " for number in vector)
        for word, vector in zip(words, itertools.cycle(VECTORS), strict=False)
    )
    path.write_text("\n".join([f"{promised} {DIM}", *rows]) + "\n", "utf-8", newline="\n")
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_a_vec_file_of_fasttext(tmp_path: Path, zipped: bool) -> None:
    words = [
        "</s>",
        "New\u00a0York",
        "1\u00a0000",
        "\u3000",
        "na\u00efve",
        "3.14",
        "\u2028",
        "-",
        "the",
    ]
    path = fasttext(tmp_path / "wiki.vec", promised=len(words), words=words)
    oracle = KeyedVectors.load_word2vec_format(str(path), binary=False)
    if zipped:
        packed = tmp_path / "wiki.vec.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    loaded = load_word_vectors(path)
    assert list(loaded.words) == words
    np.testing.assert_array_equal(loaded.vectors[-1], oracle["the"])
    np.testing.assert_array_equal(loaded.vectors[5], oracle["3.14"])


def test_a_header_may_be_a_little_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = [f"w{number}" for number in range(300)]
    loaded = load_word_vectors(fasttext(tmp_path / "few.vec", promised=302, words=words))
    assert list(loaded.words) == words
    assert "promises 302 vectors, there are 300" in caplog.text
    more = load_word_vectors(fasttext(tmp_path / "more.vec", promised=298, words=words))
    assert list(more.words) == words


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = fasttext(tmp_path / "marked.vec", promised=2, words=["a", "b"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_word_vectors(path).words == ("a", "b")


def test_what_others_call_word_vectors_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "crawl.vec.zip"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="a zip archive: unpack it"):
        load_word_vectors(path)
