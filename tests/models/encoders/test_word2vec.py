"""word2vec: what is trained, that it repeats, and that a document's vector is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st

from latentlake.errors import ConfigError, EncodeError
from models.encoders.base import EncoderOptions, EncoderSpec
from models.encoders.options import Word2VecOptions, options_json
from models.encoders.tokens import tokenise
from models.encoders.word2vec import Word2VecEncoder
from models.encoders.word2vec_training import (
    LINE_WORDS,
    chosen_epochs,
    chosen_min_count,
    write_corpus,
)
from models.encoders.word_vectors_io import read_artefact
from models.types import normalised

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PROPERTY = settings(derandomize=True, deadline=None, max_examples=40)

TOPICS = {
    "sea": [
        "wave",
        "ship",
        "harbour",
        "sailor",
        "tide",
        "anchor",
        "sail",
        "storm",
        "island",
        "gull",
        "net",
        "boat",
    ],
    "kitchen": [
        "pan",
        "knife",
        "oven",
        "salt",
        "flour",
        "butter",
        "onion",
        "stove",
        "plate",
        "spoon",
        "soup",
        "bread",
    ],
    "law": [
        "court",
        "judge",
        "statute",
        "appeal",
        "verdict",
        "clause",
        "treaty",
        "counsel",
        "plea",
        "oath",
        "bench",
        "writ",
    ],
}
SHARED = ["the", "a", "of", "and", "in", "to", "with", "for", "on", "was"]


def corpus(documents: int = 300, seed: int = 5) -> Iterator[tuple[str, str]]:
    """Yield (topic, text): a topic's words among words that all texts share."""
    random = np.random.default_rng(seed)
    for number in range(documents):
        topic = list(TOPICS)[number % len(TOPICS)]
        words = [*random.choice(TOPICS[topic], 12), *random.choice(SHARED, 12)]
        random.shuffle(words)
        yield topic, " ".join(words)


def texts(documents: int = 300) -> Iterator[str]:
    return (text for _, text in corpus(documents))


def train(folder: Path, options: Word2VecOptions, stream: Iterator[str] | None = None) -> Path:
    folder.mkdir()
    Word2VecEncoder.train(stream or texts(), options, folder, lambda *_: None)
    return folder


def load(folder: Path, options: Word2VecOptions) -> Word2VecEncoder:
    return Word2VecEncoder.load(
        EncoderSpec("word2vec", options_json(options), artefact=str(folder))
    )


OPTIONS = Word2VecOptions(dim=16, epochs=20)


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("word2vec") / "model", OPTIONS)


@pytest.fixture(scope="module")
def encoder(artefact: Path) -> Word2VecEncoder:
    return load(artefact, OPTIONS)


def test_texts_of_a_topic_lie_together(encoder: Word2VecEncoder) -> None:
    topics, held_out = zip(*corpus(60, seed=77), strict=True)
    vectors = normalised(encoder.encode([encoder.prepare(text) for text in held_out]))
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -1)
    nearest = np.array(topics)[similarities.argmax(axis=1)]
    assert (nearest == np.array(topics)).mean() > 0.95


def test_vectors_are_those_of_the_paper(encoder: Word2VecEncoder, artefact: Path) -> None:
    model = read_artefact(artefact)
    text = "The judge, the sailor and the SOUP."
    frequencies = model.words.frequencies()
    total = np.zeros(OPTIONS.dim)
    words = [model.words.words.index(word) for word in tokenise(text)]
    for row in words:
        total += 1e-3 / (1e-3 + frequencies[row]) * model.words.vectors[row].astype(np.float64)
    mean = total / len(words)
    u = model.component.astype(np.float64)
    expected = mean - u * (u @ mean)
    np.testing.assert_allclose(encoder.encode([encoder.prepare(text)])[0], expected, atol=1e-6)


def test_the_component_is_the_first_singular_vector_of_the_corpus(artefact: Path) -> None:
    model = read_artefact(artefact)
    plain = load_without_component(model.words.vectors, model.words.frequencies())
    rows = {word: row for row, word in enumerate(model.words.words)}
    means = np.array([plain[[rows[w] for w in text.split()]].mean(axis=0) for text in texts()])
    u = np.linalg.svd(means, full_matrices=False)[2][0]
    assert abs(u @ model.component) == pytest.approx(1, abs=1e-4)


def load_without_component(
    vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    frequencies: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return vectors * (1e-3 / (1e-3 + frequencies))[:, None]


@PROPERTY
@given(
    batch=st.lists(
        st.lists(st.sampled_from([*SHARED, *TOPICS["sea"]]), min_size=1, max_size=30).map(" ".join),
        min_size=1,
        max_size=9,
    )
)
def test_a_vector_does_not_depend_on_its_batch(encoder: Word2VecEncoder, batch: list[str]) -> None:
    prepared = [encoder.prepare(text) for text in batch]
    together = encoder.encode(prepared)
    for row, one in enumerate(prepared):
        np.testing.assert_array_equal(encoder.encode([one])[0], together[row])


def test_training_repeats_to_the_byte_in_another_process(artefact: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "sys.path.insert(0, str(Path(sys.argv[1]).parent))\n"
        "from test_word2vec import train, OPTIONS\n"
        "train(Path(sys.argv[2]), OPTIONS)\n"
    )
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-c", code, __file__, str(again)], cwd=ROOT, check=True)
    files = sorted(path.name for path in artefact.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    for name in files:
        assert (artefact / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.parametrize(
    "change", [{"dim": 8}, {"sif_a": 1e-2}, {"remove_component": False}, {"seed": 2}]
)
def test_other_options_are_another_fingerprint_and_refused(
    artefact: Path, encoder: Word2VecEncoder, tmp_path: Path, change: dict[str, object]
) -> None:
    other = Word2VecOptions.model_validate(OPTIONS.model_dump() | change)
    retrained = load(train(tmp_path / "other", other), other)
    assert retrained.fingerprint != encoder.fingerprint
    with pytest.raises(ConfigError, match=f"trained with {next(iter(change))} = "):
        load(artefact, other)


def test_another_corpus_is_another_fingerprint(encoder: Word2VecEncoder, tmp_path: Path) -> None:
    other = load(train(tmp_path / "other", OPTIONS, texts(299)), OPTIONS)
    assert other.fingerprint != encoder.fingerprint


def test_the_seed_decides_the_vectors(tmp_path: Path) -> None:
    models = [
        read_artefact(train(tmp_path / str(seed), Word2VecOptions(dim=4, epochs=1, seed=seed)))
        for seed in (1, 2)
    ]
    assert models[0].words.words == models[1].words.words
    assert not np.allclose(models[0].words.vectors, models[1].words.vectors)


def test_more_workers_train_as_well(tmp_path: Path) -> None:
    options = Word2VecOptions(dim=8, epochs=2, workers=2)
    assert load(train(tmp_path / "two", options), options).dim == 8


def test_a_text_without_a_known_word_is_refused(encoder: Word2VecEncoder) -> None:
    with pytest.raises(EncodeError, match="no known word in 'zyx wvu'"):
        encoder.prepare("zyx wvu")
    with pytest.raises(EncodeError, match=r"no known word in '-{57}\.\.\.'"):
        encoder.prepare("-" * 1000)


def test_a_spec_without_an_artefact_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a trained model"):
        Word2VecEncoder.load(EncoderSpec("word2vec"))


def test_training_leaves_no_corpus_behind_even_when_it_fails(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "one text"
        message = "the source went away"
        raise OSError(message)

    with pytest.raises(OSError, match="went away"):
        train(tmp_path / "model", OPTIONS, broken())
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("nothing", [[], ["", "!!"], ["each word once"]])
def test_a_corpus_without_usable_words_is_refused(tmp_path: Path, nothing: list[str]) -> None:
    with pytest.raises(ConfigError, match="set min_count = 1"):
        train(tmp_path / "model", Word2VecOptions(min_count=2), iter(nothing))


def test_a_very_small_corpus_trains(tmp_path: Path) -> None:
    options = Word2VecOptions(dim=4)
    found = load(train(tmp_path / "model", options, iter(["one two", "two"])), options)
    assert np.isfinite(found.encode([found.prepare("one")])).all()


def test_options_of_another_encoder_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="takes Word2VecOptions"):
        Word2VecEncoder.train([], EncoderOptions(), tmp_path, lambda *_: None)


def test_progress_goes_from_reading_to_the_component(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    Word2VecEncoder.train(
        texts(), Word2VecOptions(dim=4, epochs=2), tmp_path, lambda *step: seen.append(step)
    )
    assert seen == [
        ("read", 0.0),
        ("read", 1.0),
        ("train", 0.5),
        ("train", 1.0),
        ("component", 1.0),
    ]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    words = [*SHARED, *TOPICS["sea"], "Judge"]
    known = KeyedVectors(6)
    known.add_vectors(words, np.random.default_rng(1).normal(size=(len(words), 6)))
    path = tmp_path / "published.bin"
    known.save_word2vec_format(str(path), binary=True, sort_attr=None)
    return path


def test_published_vectors_are_taken_as_they_are(published: Path, tmp_path: Path) -> None:
    options = Word2VecOptions(path=str(published), remove_component=False, sif_a=1e9)
    encoder = load(train(tmp_path / "model", options), options)
    oracle = KeyedVectors.load_word2vec_format(str(published), binary=True)
    found = encoder.encode([encoder.prepare("judge"), encoder.prepare("ship and unknown ship")])
    ship = 2 * oracle["ship"] + oracle["and"]
    np.testing.assert_allclose(found, [oracle["Judge"], ship / 3], atol=1e-6)


def test_moved_vectors_keep_their_fingerprint(published: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.bin"
    moved.write_bytes(published.read_bytes())
    one, two = (Word2VecOptions(path=str(path)) for path in (published, moved))
    first = load(train(tmp_path / "one", one), one)
    second = load(train(tmp_path / "two", two), two)
    assert first.fingerprint == second.fingerprint


def test_texts_in_another_language_than_the_vectors_are_refused(
    published: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="use vectors of the texts' language"):
        train(tmp_path / "model", Word2VecOptions(path=str(published)), iter(["jeden dva"]))


def test_long_texts_become_lines_that_gensim_reads_whole(tmp_path: Path) -> None:
    found = write_corpus(["word " * (2 * LINE_WORDS + 1), "", "two words"], tmp_path / "c.txt")
    lines = [len(line.split()) for line in found.path.read_text().splitlines()]
    assert lines == [LINE_WORDS, LINE_WORDS, 1, 2]
    assert (found.lines, found.words) == (4, sum(lines))
    assert found.counts == {"word": 2 * LINE_WORDS + 1, "two": 1, "words": 1}


def test_a_vocabulary_past_its_limit_loses_the_rarest(tmp_path: Path) -> None:
    stream = [*["often seldom"] * 3, "often", *(f"once{number}" for number in range(50))]
    found = write_corpus(stream, tmp_path / "c.txt", limit=10)
    assert len(found.counts) <= 10
    assert found.counts["often"] == 4


def test_a_sample_is_spread_over_the_corpus(tmp_path: Path) -> None:
    found = write_corpus((f"line{number}" for number in range(1000)), tmp_path / "c.txt")
    assert [words[0] for words in found.sample(4).to_pylist()] == [
        "line0",
        "line250",
        "line500",
        "line750",
    ]
    assert len(found.sample(2000)) == 1000


@pytest.mark.parametrize(
    ("words", "epochs", "min_count"),
    [
        (0, 30, 1),
        (4_999, 30, 1),
        (162_000, 30, 5),
        (20_000, 30, 2),
        (1_000_000, 5, 5),
        (10**9, 3, 5),
    ],
)
def test_small_corpora_are_read_more_often(words: int, epochs: int, min_count: int) -> None:
    auto, set_by_hand = Word2VecOptions(), Word2VecOptions(epochs=7, min_count=3)
    assert (chosen_epochs(auto, words), chosen_min_count(auto, words)) == (epochs, min_count)
    assert (chosen_epochs(set_by_hand, words), chosen_min_count(set_by_hand, words)) == (7, 3)
