"""The projects that `bench_scale` measures: many short texts in one file, many tiny images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY, WORDS, DIM = 1000, 8, 100
CONFIG = """
[[sources]]
name = "texts"
kind = "text"
uri = "texts"
text = "text"
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["texts"]
options = {{ path = "words.txt" }}
[limits]
memory = "{memory}"
"""
IMAGES = """
[[sources]]
name = "texts"
kind = "images"
uri = "images"
[limits]
memory = "{memory}"
"""


def make_texts(folder: Path, items: int, memory: str) -> None:
    """Write a project: a Parquet file of texts of 11 words, the word vectors, the configuration."""
    (folder / "texts").mkdir(parents=True)
    (folder / "latentlake.toml").write_text(CONFIG.format(memory=memory))
    random = np.random.default_rng(0)
    vectors = random.standard_normal((VOCABULARY, DIM)).astype(np.float32)
    rows = [f"{_word(n)} {' '.join(map(str, vector))}\n" for n, vector in enumerate(vectors)]
    (folder / "words.txt").write_text("".join(rows))
    write_texts(folder / "texts" / "a.parquet", items, 1)


def write_texts(path: Path, items: int, seed: int) -> None:
    """Write texts of a few words that number them, and 8 that follow Zipf's law."""
    random = np.random.default_rng(seed)
    names = np.array([_word(number) for number in range(VOCABULARY)])
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, items, 10_000):
            count = min(10_000, items - start)
            drawn = np.minimum(random.zipf(1.3, (count, WORDS)), VOCABULARY) - 1
            numbers = np.arange(start, start + count)
            told = np.column_stack(
                [np.full(count, seed), numbers % VOCABULARY, numbers // VOCABULARY, drawn]
            )
            texts = [" ".join(row) for row in names[told].tolist()]
            writer.write_table(pa.table({"text": texts}, schema=schema))
    _age(path)


def make_images(folder: Path, items: int, memory: str) -> None:
    """Write a project of tiny PNGs, all different, a thousand a folder."""
    (folder / "images").mkdir(parents=True)
    (folder / "latentlake.toml").write_text(IMAGES.format(memory=memory))
    random = np.random.default_rng(0)
    for number in range(items):
        place = folder / "images" / f"{number // 1000:05d}"
        place.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:08d}.png", compress_level=0)
        _age(place / f"{number:08d}.png")


def _age(path: Path) -> None:
    """Set a file's time back, so that the stamp of a file just written is not in doubt."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**10))


def _word(number: int) -> str:
    return "".join(
        "bdfgklmnprstvz"[number // 14**place % 14] + "aeiou"[place] for place in range(3)
    )
