"""Training of word vectors on a stream of texts, in bounded memory.

Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality"
(NeurIPS 2013), by gensim's `corpus_file` path, which trains without the interpreter's lock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from gensim.models import Word2Vec

from latentlake.errors import ConfigError
from models.encoders.token_arrays import split_words
from models.encoders.word_lookup import WordLookup
from models.encoders.word_vectors_io import WordVectors

if TYPE_CHECKING:
    from pathlib import Path

    from models.encoders.options import Word2VecOptions

Progress = Callable[[str, float], None]

# gensim reads no more of a line than this.
LINE_WORDS: Final = 10_000

# Beyond it the rarest words are forgotten; about 130 bytes each.
VOCABULARY_LIMIT: Final = 4_000_000

# What is tokenised at once.
CHUNK_TEXTS: Final = 4096
CHUNK_CHARACTERS: Final = 8_000_000

# A small corpus needs more passes. Measured as the share of the 10 nearest abstracts with the same
# arXiv category: 1,000 abstracts (162 k words) go from .337 after 5 passes to .473 after 30, 40,000
# (6.4 M words) from .546 after 2 to .559 after 5. TF-IDF with LSA, also 100-d, has .442 and .539.
TRAINED_WORDS: Final = 5_000_000
FEWEST_EPOCHS: Final = 3
MOST_EPOCHS: Final = 30


@dataclass(frozen=True, slots=True)
class Corpus:
    """A stream of texts, written down as lines of words.

    Attributes:
        path: one text a line, words separated by spaces; texts without a word are left out.
        lines: how many.
        words: how many words they have together.
        counts: how often each word occurs; past the limit, without the rarest.
    """

    path: Path
    lines: int
    words: int
    counts: Counter[str]

    def chunks(self) -> Iterator[pa.ListArray]:
        """Yield the words of all lines, a few thousand lines at a time."""
        with self.path.open(encoding="utf-8", newline="\n") as file:
            for lines in _chunks(file):
                yield _words_of(lines)

    def sample(self, size: int) -> pa.ListArray:
        """Return the words of at most `size` lines, evenly spread over the corpus."""
        stride = max(1, math.ceil(self.lines / size))
        with self.path.open(encoding="utf-8") as file:
            return _words_of(list(islice(file, 0, None, stride)))


def _words_of(lines: list[str]) -> pa.ListArray:
    stripped = pc.ascii_trim_whitespace(pa.array(lines, pa.large_string()))
    return pc.ascii_split_whitespace(stripped)


def write_corpus(texts: Iterable[str], path: Path, *, limit: int = VOCABULARY_LIMIT) -> Corpus:
    """Tokenise a stream of texts into a file and count its words on the way.

    Args:
        texts: read once, a few thousand at a time.
        path: the file to write.
        limit: how many different words to count; past it, the rarest go until half are left.
    """
    return _written(map(split_words, _chunks(texts)), path, limit)


def join_phrases(corpus: Corpus, phrases: Sequence[str], path: Path, min_count: int) -> Corpus:
    """Write a corpus anew with its phrases as single words, and without its rare words.

    Args:
        corpus: read once, a chunk at a time.
        phrases: pairs of words, joined by "_".
        path: the file to write.
        min_count: rarer words are left out.
    """
    kept = [word for word, count in corpus.counts.items() if count >= min_count]
    names = pa.array([*kept, *phrases], pa.large_string())
    rows = {word: row for row, word in enumerate([*kept, *phrases])}
    lookup = WordLookup(rows, phrases=True)

    def joined() -> Iterator[pa.ListArray]:
        for lines in corpus.chunks():
            found, ends = lookup.flat_rows(lines)
            words = names.take(pa.array(found))
            yield pa.ListArray.from_arrays(pa.array(ends, pa.int32()), words)

    return _written(joined(), path, VOCABULARY_LIMIT)


def _written(texts: Iterable[pa.ListArray], path: Path, limit: int) -> Corpus:
    """Write and count the words of texts, given as lists of words."""
    counts: Counter[str] = Counter()
    lines = words = 0
    with path.open("wb") as file:
        for text in texts:
            split = _lines_of(text)
            lines, words = lines + len(split), words + len(split.values)
            counts.update(_counted(split.values))
            _write_lines(split, file)
            if len(counts) > limit:
                counts = _without_rarest(counts, limit // 2)
    return Corpus(path, lines, words, counts)


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield the texts a few thousand at a time, fewer where they are long."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == CHUNK_TEXTS or characters > CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _lines_of(words: pa.ListArray) -> pa.ListArray:
    """Leave out texts without a word, and cut those that are longer than a line may be."""
    offsets = np.asarray(words.offsets)
    long = np.flatnonzero(np.diff(offsets) > LINE_WORDS)
    cuts = [np.arange(offsets[at], offsets[at + 1], LINE_WORDS) for at in long]
    places = np.unique(np.concatenate([offsets, *cuts]))
    return pa.ListArray.from_arrays(pa.array(places, pa.int32()), words.values)


def _counted(words: pa.Array) -> dict[str, int]:
    """Count words; those that come first are first, as in a `Counter`."""
    found = words.value_counts()
    return dict(
        zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    )


def _write_lines(lines: pa.ListArray, file: IO[bytes]) -> None:
    joined = pc.binary_join(lines, pa.scalar(" ", pa.large_string()))
    whole = pa.ListArray.from_arrays(pa.array([0, len(joined)], pa.int32()), joined)
    (text,) = pc.binary_join(whole, pa.scalar("\n", pa.large_string()))
    if len(joined):
        file.write(text.as_buffer())
        file.write(b"\n")


def _without_rarest(counts: Counter[str], limit: int) -> Counter[str]:
    """Drop the words seen once, then those seen twice and so on, until at most `limit` are left."""
    rarest = 1
    while len(counts) > limit:
        counts = Counter({word: n for word, n in counts.items() if n > rarest})
        rarest += 1
    return counts


def chosen_min_count(options: Word2VecOptions, words: int) -> int:
    """Resolve `min_count = "auto"`: word2vec's usual 5, less where a corpus is too small for it."""
    if options.min_count != "auto":
        return options.min_count
    if words >= 50_000:  # noqa: PLR2004
        return 5
    return 2 if words >= 5_000 else 1  # noqa: PLR2004


def chosen_epochs(options: Word2VecOptions, words: int) -> int:
    """Resolve `epochs = "auto"`: so many passes that five million words are read, 3 to 30."""
    if options.epochs != "auto":
        return options.epochs
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(TRAINED_WORDS / max(1, words))))


def train_word_vectors(corpus: Corpus, options: Word2VecOptions, progress: Progress) -> WordVectors:
    """Train on a corpus; with one worker, the same corpus and options give the same bits.

    Raises:
        ConfigError: no word is frequent enough.
    """
    min_count = chosen_min_count(options, corpus.words)
    kept = {word: count for word, count in corpus.counts.items() if count >= min_count}
    if not kept:
        raise ConfigError(
            f"word2vec: of {corpus.words} words in {corpus.lines} texts none occurs {min_count} "
            "times: add texts, or set min_count = 1."
        )
    epochs = chosen_epochs(options, corpus.words)
    model = Word2Vec(
        vector_size=options.dim,
        window=options.window,
        min_count=1,
        negative=options.negative,
        sample=options.subsample,
        sg=int(options.skip_gram),
        seed=options.seed,
        workers=options.workers,
    )
    model.build_vocab_from_freq(kept, corpus_count=corpus.lines)
    model.train(
        corpus_file=str(corpus.path),
        total_examples=corpus.lines,
        total_words=corpus.words,
        epochs=epochs,
        callbacks=[_EpochProgress(progress, epochs)],
    )
    words = tuple(model.wv.index_to_key)
    counts = np.array([kept[word] for word in words], dtype=np.int64)
    return WordVectors(words, np.asarray(model.wv.vectors, dtype=np.float32), counts)


class _EpochProgress:
    """Reports finished epochs; has the methods of gensim's `CallbackAny2Vec`."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress, self._epochs, self._done = progress, epochs, 0

    def on_train_begin(self, model: Any) -> None:
        """Do nothing."""

    def on_epoch_begin(self, model: Any) -> None:
        """Do nothing."""

    def on_epoch_end(self, model: Any) -> None:  # noqa: ARG002 - gensim's signature
        """Report the fraction of epochs done."""
        self._done += 1
        self._progress("train", self._done / self._epochs)

    def on_train_end(self, model: Any) -> None:
        """Do nothing."""
