"""Lakes of vectors to measure with: made from a seed, or drawn from real texts.

The made ones are clusters within topics, of Zipf's sizes, in a space whose axes matter less and
less as those of real embeddings do; some rows in a hundred are near-copies of another one, and a
few rows have hundreds of them. The real ones are texts by latent semantic analysis.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.lake import Lake
from latentlake.settings import Settings, load_settings
from models.encoders.base import EncoderSpec
from models.encoders.registry import load_encoder
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.ingesting import ingest_source
from tasks.stages.planning import plan_embedding
from tasks.stages.runs import begin_run, finish_run
from tasks.stages.spaces import find_space, make_space

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

DIM = 384
SPACE = "own"
BLOCK = 50_000
ENCODED, TOGETHER = 5000, 1024
"""Texts whose vectors are held before they are joined, and texts that are encoded at once."""
TOPICS, CLUSTERS = 300, 20
COPIES, POPULAR = 0.08, 400
"""Share of near-copies, and rows of each block that half of them are copies of."""
CONFIG = """
[lake]
root = "lake"
[[sources]]
name = "mine"
kind = "vectors"
uri = "vectors.parquet"
[[spaces]]
name = "own"
encoder = "vectors"
sources = ["mine"]
neighbours = 15
duplicates = {{ threshold = {threshold} }}
[limits]
memory = "{memory}"
"""


def made_vectors(rows: int, dim: int = DIM, seed: int = 0) -> Iterator[Matrix]:
    """Yield blocks of unit vectors, (rows, dim) float32 in all."""
    random = np.random.default_rng(seed)
    axes = ((1 + np.arange(dim)) ** -0.4).astype(np.float32)
    topics = random.standard_normal((TOPICS, dim), np.float32)
    clusters = topics.repeat(CLUSTERS, axis=0)
    clusters += 0.7 * random.standard_normal(clusters.shape, np.float32)
    order = random.permutation(len(clusters))
    popular = None
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        chosen = order[np.minimum(random.zipf(1.2, count), len(clusters)) - 1]
        block = clusters[chosen] + random.standard_normal((count, dim), np.float32)
        block *= axes
        if popular is None:
            popular = block[:POPULAR].copy()
        copies = np.flatnonzero(random.random(count) < COPIES)
        copies = copies[copies >= POPULAR]
        common, single = np.array_split(copies, 2)
        block[common] = popular[random.integers(0, len(popular), common.size)]
        block[single] = block[random.integers(0, count, single.size)]
        length = np.linalg.norm(block[copies], axis=1, keepdims=True) / np.sqrt(dim)
        noise = random.standard_normal((copies.size, dim), np.float32)
        block[copies] += (
            random.uniform(0, 0.6, (copies.size, 1)).astype(np.float32) * length * noise
        )
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def text_vectors(datasets: Path, rows: int, dim: int = DIM) -> Matrix:
    """Return real texts by TF-IDF and a singular value decomposition, as unit vectors."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = list(_texts(datasets))[:rows]
    weights = TfidfVectorizer(max_features=30_000, sublinear_tf=True, min_df=3).fit_transform(texts)
    weights = weights.astype(np.float32)
    reduce = TruncatedSVD(dim, n_iter=2, random_state=0)
    reduce.fit(weights[np.random.default_rng(0).permutation(len(texts))[:15_000]])
    vectors = reduce.transform(weights).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Matrix = vectors / np.maximum(lengths, 1e-12)
    return units


def encoded_texts(datasets: Path, rows: int) -> Matrix:
    """Return the same texts by the encoder `minilm`, as unit vectors; some 15 minutes of two cores.

    Args:
        datasets: the folder of the sets.
        rows: how many texts.
    """
    encoder = load_encoder(EncoderSpec("minilm", '{"max_tokens":128}', threads=2))
    texts, parts = list(_texts(datasets))[:rows], []
    for start in range(0, len(texts), ENCODED):
        part = texts[start : start + ENCODED]
        vectors = np.empty((len(part), DIM), np.float32)
        by_length = sorted(range(len(part)), key=lambda place: len(part[place]))
        for first in range(0, len(part), TOGETHER):
            some = by_length[first : first + TOGETHER]
            vectors[some] = encoder.encode([encoder.prepare(part[place]) for place in some])
        parts.append(vectors)
    whole = np.concatenate(parts)
    units: Matrix = whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-12)
    return units


def _texts(datasets: Path) -> Iterator[str]:
    """Yield abstracts, newsgroup posts, and sentences, in one order."""
    yield from pq.read_table(datasets / "arxiv_abstracts.parquet")["abstract"].to_pylist()
    command = ["zstd", "-dc", str(datasets / "corpus_arxiv_extra.txt.zst")]
    yield from subprocess.run(command, capture_output=True, check=True).stdout.decode().splitlines()  # noqa: S603
    with gzip.open(datasets / "20newsgroups_bydate.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from (json.loads(line)["text"] for line in lines)
    with gzip.open(datasets / "brown_corpus_sentences.txt.gz", "rt", encoding="utf-8") as lines:
        yield from (line for line in lines if len(line) > 60)  # noqa: PLR2004


def make_lake(folder: Path, blocks: Iterator[Matrix], threshold: float, memory: str) -> Settings:
    """Make a project of vectors in a folder, ingest and embed it; one that is there is taken."""
    config = folder / "latentlake.toml"
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_vectors(folder / "vectors.parquet", blocks)
        config.write_text(CONFIG.format(threshold=threshold, memory=memory), "utf-8")
        settings = load_settings(config)
        _embed(Lake(settings.root), settings)
    return load_settings(config)


def _write_vectors(path: Path, blocks: Iterator[Matrix]) -> None:
    writer, start = None, 0
    for block in blocks:
        flat = pa.array(np.ascontiguousarray(block).ravel())
        vectors = pa.FixedSizeListArray.from_arrays(flat, block.shape[1])
        keys = [f"k{number:08d}" for number in range(start, start + len(block))]
        table = pa.table({"key": keys, "vector": vectors})
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False)
        writer.write_table(table, row_group_size=16384)
        start += len(block)
    assert writer is not None  # noqa: S101
    writer.close()


def _embed(lake: Lake, settings: Settings) -> None:
    run = begin_run(lake, "embed")
    receipts = [ingest_source(lake, settings, "mine", run.run_id)]
    space = find_space(lake, settings, SPACE) or make_space(lake, settings, SPACE, run.run_id)
    plan = plan_embedding(lake, settings, space)
    shards = [one for group in plan.groups for one in encode_group(lake, settings, space, group)]
    receipts.append(commit_embedding(lake, space, plan, shards, run.run_id))
    finish_run(lake, settings, run, receipts)
