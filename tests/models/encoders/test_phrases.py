"""Phrases: gensim finds and joins the same ones, and a plain loop gives the same rows."""

from __future__ import annotations

import gzip
import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gensim.models.phrases import Phrases
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders.base import EncoderSpec
from models.encoders.options import Word2VecOptions, options_json
from models.encoders.phrase_learning import LEAST_NPMI, learn_phrases
from models.encoders.tokens import tokenise
from models.encoders.word2vec import Word2VecEncoder
from models.encoders.word2vec_training import join_phrases, write_corpus
from models.encoders.word_lookup import WordLookup
from models.encoders.word_vectors_io import read_artefact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)
MIN_COUNT = 3


@pytest.fixture(scope="module")
def abstracts(samples: Path) -> list[str]:
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.endswith("}\n")]
    return [row["abstract"] for row in rows][:400]


def gensims(texts: Sequence[str]) -> Phrases:
    sentences = [tokenise(text) for text in texts]
    return Phrases(sentences, min_count=MIN_COUNT, threshold=LEAST_NPMI, scoring="npmi")


def test_phrases_are_those_that_gensim_finds(abstracts: list[str], tmp_path: Path) -> None:
    found = learn_phrases(write_corpus(abstracts, tmp_path / "c"), MIN_COUNT)
    assert len(found) > 100
    assert set(found) == set(gensims(abstracts).export_phrases())


def test_a_limit_forgets_the_rarest_pairs(abstracts: list[str], tmp_path: Path) -> None:
    corpus = write_corpus(abstracts, tmp_path / "c")
    everything, found = (
        learn_phrases(corpus, MIN_COUNT),
        learn_phrases(corpus, MIN_COUNT, limit=500),
    )
    assert 0 < len(found) < len(everything)
    assert set(found) < set(everything)


def test_the_corpus_is_joined_as_gensim_does(abstracts: list[str], tmp_path: Path) -> None:
    corpus = write_corpus(abstracts, tmp_path / "c")
    phrases = learn_phrases(corpus, 1)
    joined = join_phrases(corpus, phrases, tmp_path / "joined", 1)
    oracle = Phrases(
        [tokenise(text) for text in abstracts], min_count=1, threshold=LEAST_NPMI, scoring="npmi"
    )
    expected = [" ".join(oracle[tokenise(text)]) for text in abstracts]
    assert (tmp_path / "joined").read_text("utf-8").splitlines() == expected
    assert joined.words == sum(len(line.split()) for line in expected)
    assert joined.counts.total() == joined.words


def rows_by_a_loop(text: str, rows: Mapping[str, int]) -> list[int]:
    """Take the first phrase from the left, else the word."""
    words, found, at = tokenise(text), [], 0
    while at < len(words):
        pair = "_".join(words[at : at + 2])
        step = 2 if len(words) > at + 1 and pair in rows else 1
        name = pair if step == 2 else words[at]
        found += [rows[name]] if name in rows else []
        at += step
    return found


TEXTS = st.lists(st.sampled_from("abcdx.")).map(" ".join)
VOCABULARIES = st.lists(
    st.sampled_from(["a", "b", "c", "a_b", "b_a", "b_c", "c_d", "a_a", "a_b_c", "_a", "d_", "__"]),
    unique=True,
    max_size=9,
)


@PROPERTY
@given(texts=st.lists(TEXTS, max_size=6), vocabulary=VOCABULARIES)
def test_rows_are_those_of_a_plain_loop(texts: list[str], vocabulary: list[str]) -> None:
    rows = {word: row for row, word in enumerate(vocabulary)}
    phrases = {word for word in rows if re.fullmatch("[a-d]_[a-d]", word)}
    looped = {word: row for word, row in rows.items() if word in phrases or "_" not in word}
    found = WordLookup(rows, phrases=True).documents(texts)
    assert [one.tolist() for one in found] == [rows_by_a_loop(text, looped) for text in texts]


def test_a_phrase_has_a_vector_of_its_own(abstracts: list[str], tmp_path: Path) -> None:
    options = Word2VecOptions(dim=8, epochs=1, phrases=True, min_count=MIN_COUNT)
    Word2VecEncoder.train(iter(abstracts), options, tmp_path, lambda *_: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.json",
        "model.safetensors",
        "vocabulary.json",
    ]
    words = read_artefact(tmp_path).words.words
    phrase = next(word for word in words if "_" in word)
    spec = EncoderSpec("word2vec", options_json(options), artefact=str(tmp_path))
    encoder = Word2VecEncoder.load(spec)
    prepared = encoder.prepare(phrase.replace("_", " ").upper())
    assert [words[row] for row in prepared] == [phrase]
    plain = options.model_copy(update={"phrases": False})
    (tmp_path / "plain").mkdir()
    Word2VecEncoder.train(iter(abstracts), plain, tmp_path / "plain", lambda *_: None)
    other = EncoderSpec("word2vec", options_json(plain), artefact=str(tmp_path / "plain"))
    assert Word2VecEncoder.load(other).fingerprint != encoder.fingerprint


def test_loaded_vectors_bring_their_phrases(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("new 1 0\nNew_York 0 1\nyork 1 1\n", "utf-8")
    options = Word2VecOptions(path=str(path), phrases=True, remove_component=False, sif_a=1e9)
    Word2VecEncoder.train(iter(["new york"]), options, tmp_path, lambda *_: None)
    spec = EncoderSpec("word2vec", options_json(options), artefact=str(tmp_path))
    encoder = Word2VecEncoder.load(spec)
    found = encoder.encode([encoder.prepare("a new york"), encoder.prepare("york, new")])
    np.testing.assert_allclose(found, np.array([[0, 1], [1, 0.5]]), atol=1e-6)
