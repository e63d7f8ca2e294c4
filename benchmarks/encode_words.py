"""How fast is `word2vec` beside gensim, and are its words as good?

Over one corpus, in rounds that take turns, so that load on the machine hits all alike:

* training: from texts to word vectors, ours against `gensim.models.Word2Vec(corpus_file=...)` with
  the same settings, seed and number of threads. gensim is given the tokenised file; what ours does
  (tokenise, count, write that file) is inside its time, and gensim's own scan inside gensim's;
* documents: raw texts to document vectors, ours (`prepare_all` and `encode`, in as many threads as
  the stage `embed` has, and in one) against the plain loop, the mean of gensim's `wv[word]`, and
  against `wv.get_mean_vector`. The best of loops that we know, a dict and one fancy index a text,
  is there, too;
* words: Spearman correlation with WS-353, MC-30 and RG-65, and the analogies of
  questions-words.txt, by gensim's own evaluation of both models.

    .venv/bin/python benchmarks/encode_words.py --data ../shared/datasets

Prints the figures and writes benchmarks/results/encode_words.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from encode_lake import machine
from gensim.models import KeyedVectors, Word2Vec

from models.encoders.base import EncoderSpec
from models.encoders.options import Word2VecOptions, options_json
from models.encoders.tokens import tokenise
from models.encoders.word2vec import Word2VecEncoder
from models.encoders.word2vec_training import (
    chosen_epochs,
    chosen_min_count,
    train_word_vectors,
    write_corpus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.encoders.word_vectors_io import WordVectors

HERE = Path(__file__).parent
SIMILARITIES = ("EN-WS-353-ALL.txt", "EN-MC-30.txt", "EN-RG-65.txt")


def seconds(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return what some work takes by the clock and of the processors, and its result."""
    began, used = time.monotonic(), time.process_time()
    made = work()
    return time.monotonic() - began, time.process_time() - used, made


def unpacked(path: Path) -> bytes:
    """Return the content of a file packed by zstd."""
    done = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True)  # noqa: S603, S607
    return done.stdout


def ours_trained(texts: Sequence[str], options: Word2VecOptions, folder: Path) -> WordVectors:
    """Train from texts, as the encoder does."""
    corpus = write_corpus(iter(texts), folder / "ours.txt")
    return train_word_vectors(corpus, options, lambda *_: None)


def gensims_trained(path: Path, options: Word2VecOptions, *, min_count: int, epochs: int) -> Any:
    """Train from a tokenised file, as gensim does."""
    return Word2Vec(
        corpus_file=str(path),
        vector_size=options.dim,
        window=options.window,
        min_count=min_count,
        negative=options.negative,
        sample=options.subsample,
        sg=int(options.skip_gram),
        seed=options.seed,
        workers=options.workers,
        epochs=epochs,
    )


def measure_training(
    texts: Sequence[str], folder: Path, workers: int, rounds: int
) -> tuple[dict[str, Any], WordVectors, KeyedVectors]:
    """Return words a second of both sides, one figure a round, and the models of the last one."""
    options = Word2VecOptions(workers=workers)
    corpus = write_corpus(iter(texts), folder / "gensim.txt")
    epochs, min_count = (
        chosen_epochs(options, corpus.words),
        chosen_min_count(options, corpus.words),
    )
    trained = corpus.words * epochs
    rates: dict[str, list[float]] = {"ours": [], "gensim": []}
    by_processor: dict[str, list[float]] = {"ours": [], "gensim": []}
    models: dict[str, Any] = {}
    for number in range(rounds):
        sides = {
            "ours": lambda: ours_trained(texts, options, folder),
            "gensim": lambda: gensims_trained(
                corpus.path, options, min_count=min_count, epochs=epochs
            ),
        }
        for side in sorted(sides, reverse=number % 2 == 0):
            took, used, models[side] = seconds(sides[side])
            rates[side].append(trained / took)
            by_processor[side].append(trained / used)
    found = {
        "words": corpus.words,
        "epochs": epochs,
        "workers": workers,
        "words_a_second": rates,
        "words_a_processor_second": by_processor,
        "ratio": ratio(rates, "ours", "gensim"),
        "ratio by the processor": ratio(by_processor, "ours", "gensim"),
    }
    return found, models["ours"], models["gensim"].wv


def measure_documents(
    texts: Sequence[str], folder: Path, threads: int, rounds: int
) -> dict[str, Any]:
    """Return documents a second of each way, one figure a round."""
    options = Word2VecOptions(epochs=1, workers=threads)
    Word2VecEncoder.train(iter(texts), options, folder, lambda *_: None)
    spec = EncoderSpec("word2vec", options_json(options), artefact=str(folder))
    encoder = Word2VecEncoder.load(replace(spec, threads=threads))
    words = encoder.words()
    known = KeyedVectors(encoder.dim)
    known.add_vectors(list(words.words), words.vectors)
    ways = {
        "ours": lambda: in_batches(encoder, texts, threads),
        "ours, one thread": lambda: in_batches(encoder, texts, 1),
        "plain loop": lambda: plain_loop(known, texts),
        "best loop": lambda: best_loop(words, texts),
        "gensim": lambda: [known.get_mean_vector(tokenise(text)) for text in texts],
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            rates[way].append(len(texts) / seconds(work)[0])
    others = [way for way in ways if way != "ours"]
    return {
        "documents": len(texts),
        "threads": threads,
        "documents_a_second": rates,
        "ratios": {way: ratio(rates, "ours", way) for way in others},
        "ratio in one thread": ratio(rates, "ours, one thread", "plain loop"),
    }


def in_batches(
    encoder: Word2VecEncoder, texts: Sequence[str], threads: int
) -> np.ndarray[Any, Any]:
    """Encode texts in the encoder's batches; a text without a known word has no row."""

    def encode(start: int) -> np.ndarray[Any, Any]:
        prepared = encoder.prepare_all(texts[start : start + encoder.batch_size])
        return encoder.encode([one for one in prepared if not isinstance(one, Exception)])

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(encode, range(0, len(texts), encoder.batch_size))))


def plain_loop(known: KeyedVectors, texts: Sequence[str]) -> list[Any]:
    """Average the words of each text, as the tutorials do."""
    return [
        np.mean([known[word] for word in tokenise(text) if word in known] or [0], axis=0)
        for text in texts
    ]


def best_loop(words: WordVectors, texts: Sequence[str]) -> list[Any]:
    """Average rows of the matrix, looked up in a dict: the fastest loop that we know."""
    rows, table = words.lookup(), words.vectors
    return [
        table[[rows[word] for word in tokenise(text) if word in rows]].mean(axis=0)
        for text in texts
        if text.strip()
    ]


def scores(known: KeyedVectors, folder: Path) -> dict[str, Any]:
    """Evaluate word vectors as gensim does."""
    found: dict[str, Any] = {}
    for name in SIMILARITIES:
        _, spearman, unknown = known.evaluate_word_pairs(str(folder / name))
        found[name] = {"spearman": float(spearman.statistic), "unknown_percent": unknown}
    share, sections = known.evaluate_word_analogies(str(folder / "questions-words.txt"))
    asked = len(sections[-1]["correct"]) + len(sections[-1]["incorrect"])
    return found | {"analogies": {"correct": float(share), "asked": asked}}


def ratio(rates: dict[str, list[float]], ours: str, other: str) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(rates[ours], rates[other], strict=True))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--texts", type=int, default=30_000, help="of corpus_arxiv_extra")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "encode_words.json")
    asked = parser.parse_args()
    lines = unpacked(asked.data / "corpus_arxiv_extra.txt.zst").decode().splitlines()
    texts = lines[: asked.texts]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = folder / "words.tar"
        packed.write_bytes(unpacked(asked.data / "word_similarity_dev.tar.zst"))
        with tarfile.open(packed) as tar:
            tar.extractall(folder, filter="data")
        (folder / "model").mkdir()
        documents = measure_documents(texts, folder / "model", asked.threads, asked.rounds)
        several, _, _ = measure_training(texts, folder, asked.threads, asked.rounds)
        one, words, peer = measure_training(texts, folder, 1, 1)
        own = KeyedVectors(words.vectors.shape[1])
        own.add_vectors(list(words.words), words.vectors)
        quality = {
            "ours": scores(own, folder / "word_similarity"),
            "gensim": scores(peer, folder / "word_similarity"),
        }
    result = {
        "corpus": f"corpus_arxiv_extra, {len(texts)} texts",
        "documents": documents,
        "training": several,
        "training with one worker": one,
        "same vectors with one worker": bool(np.array_equal(words.vectors, peer.vectors)),
        "words": quality,
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))
    asked.output.parent.mkdir(exist_ok=True)
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
