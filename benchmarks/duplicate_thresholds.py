"""What do the default thresholds of near-duplicates mean? Precision, recall, and shared wording.

* Photos: all pairs of neardup_photos_dev, whose true groups are known, by the cosine of
  efficientnet-lite0. Precision and recall over pairs, a line a threshold; then the share of
  changed photos that the default finds beside their original.
* Texts: the report `duplicates` of arxiv_abstracts.parquet at .95, by the cosine of word2vec. No
  truth is known there; a removal counts as confirmed where it and its kept twin share at least .3
  of their runs of three words (Jaccard). A line for each hundredth of similarity.

    .venv/bin/python benchmarks/duplicate_thresholds.py --datasets ../shared/datasets

The figures decided docs/decisions/0003-default-duplicate-thresholds.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zstandard

from data.images import decode_image
from models.analysis.duplicates import greedy_cover
from models.analysis.pairs import find_pairs
from models.encoders.base import EncoderSpec
from models.encoders.options import Word2VecOptions, options_json
from models.encoders.registry import load_encoder
from models.encoders.word2vec import Word2VecEncoder
from models.indexes.build import build_index
from models.indexes.row_view import RowView
from models.types import ArrayVectors, Matrix, Metric, normalised
from tasks.stages.thresholds import DEFAULT_THRESHOLDS

PHOTO_THRESHOLDS = (0.80, 0.82, 0.84, 0.85, 0.86, 0.88, 0.90, 0.92, 0.94, 0.95)
TEXT_THRESHOLD = 0.95
SHINGLE_WORDS = 3
CONFIRMED_JACCARD = 0.3


@dataclass(frozen=True)
class LabelledPhoto:
    """An encoded picture, its group of near-duplicates, and what was done to the original."""

    payload: bytes
    group: str
    change: str


def main() -> int:
    """Measure what the data sets allow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--only", choices=("photos", "texts"), help="by default both")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    photos = arguments.datasets / "neardup_photos_dev.tar.zst"
    abstracts = arguments.datasets / "arxiv_abstracts.parquet"
    if not (photos.is_file() and abstracts.is_file()):
        print(f"skipped: no data sets at {arguments.datasets} (--datasets names another folder)")
        return 0
    if arguments.only != "texts":
        measure_photos(read_photos(photos), arguments.threads)
    if arguments.only != "photos":
        measure_texts(pq.read_table(abstracts, columns=["abstract"])["abstract"].to_pylist())
    return 0


def read_photos(archive: Path) -> list[LabelledPhoto]:
    """Read the pictures and their groups out of the archive."""
    unpacked = io.BytesIO(zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read())
    with tarfile.open(fileobj=unpacked) as tar:
        files = {
            member.name.rpartition("/")[2]: stream.read()
            for member in tar
            if (stream := tar.extractfile(member)) is not None
        }
    truth = csv.DictReader(io.StringIO(files["truth.csv"].decode()))
    return [LabelledPhoto(files[row["file"]], row["group"], row["transform"]) for row in truth]


def measure_photos(photos: list[LabelledPhoto], threads: int) -> None:
    """Print precision and recall over all pairs of photos."""
    encoder = load_encoder(EncoderSpec("efficientnet-lite0", threads=threads))
    prepared = [encoder.prepare(decode_image(photo.payload)) for photo in photos]
    unit = normalised(encoder.encode(prepared))
    upper = np.triu_indices(len(photos), 1)
    similarities = (unit @ unit.T)[upper]
    groups = np.array([photo.group for photo in photos])
    same = (groups[:, None] == groups[None])[upper]
    print(f"photos: {len(photos)}, true pairs: {same.sum():,}")
    print("threshold  precision  recall  pairs")
    for threshold in PHOTO_THRESHOLDS:
        found = similarities >= threshold
        precision, recall = same[found].mean(), same[found].sum() / same.sum()
        print(f"{threshold:9.2f}  {precision:9.3f}  {recall:6.3f}  {found.sum():5,}")
    print_changes(photos, unit)


def print_changes(photos: list[LabelledPhoto], unit: Matrix) -> None:
    """Print how many changed photos are found beside their own original, by the default."""
    originals = {photo.group: row for row, photo in enumerate(photos) if photo.change == "original"}
    found: dict[str, list[bool]] = {}
    for row, photo in enumerate(photos):
        if photo.change != "original" and photo.group in originals:
            similarity = float(unit[row] @ unit[originals[photo.group]])
            found.setdefault(photo.change, []).append(similarity >= DEFAULT_THRESHOLDS["image"])
    print("change      photos  found beside the original")
    for change, hits in sorted(found.items(), key=lambda pair: -np.mean(pair[1])):
        print(f"{change:10}  {len(hits):6}  {np.mean(hits):25.2f}")


def measure_texts(abstracts: list[str]) -> None:
    """Print how many removals at each similarity share their wording with the kept twin."""
    texts = list(dict.fromkeys(abstracts))
    vectors = ArrayVectors(encode_texts(texts))
    every = np.arange(vectors.rows, dtype=np.int64)
    index = RowView(build_index(vectors, Metric.COSINE).index, every)
    pairs = find_pairs(vectors, index, TEXT_THRESHOLD, every)
    longest_first = np.argsort([-len(text) for text in texts], kind="stable")
    cover = greedy_cover(pairs, longest_first)
    shared = np.array(
        [
            jaccard(shingles(texts[removed]), shingles(texts[twin]))
            for removed, twin in zip(cover.removed, cover.twins, strict=True)
        ]
    )
    print(f"texts: {len(texts):,}, removed at {TEXT_THRESHOLD}: {len(shared):,}")
    print("similarity      removals  confirmed  median Jaccard")
    near = pairs.similarities[cover.pairs]
    for low, high in pairwise(np.append(np.arange(95, 100) / 100, 1.001)):
        part = shared[(near >= low) & (near < high)]
        confirmed = (part >= CONFIRMED_JACCARD).mean()
        span = f"[{low:.2f}, {min(high, 1.0):.2f}{']' if high > 1 else ')'}"
        print(f"{span:14}  {len(part):8,}  {confirmed:9.2f}  {np.median(part):14.2f}")


def encode_texts(texts: list[str]) -> Matrix:
    """Train word2vec on the texts, with its defaults, and encode them: (texts, dim) float32."""
    with tempfile.TemporaryDirectory() as folder:
        Word2VecEncoder.train(texts, Word2VecOptions(), Path(folder), lambda *_: None)
        spec = EncoderSpec("word2vec", options_json(Word2VecOptions()), artefact=folder)
        encoder = load_encoder(spec)
        return encoder.encode([encoder.prepare(text) for text in texts])


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Return a text's runs of three words (Broder 1997)."""
    words = re.findall(r"\w+", text.lower())
    runs = zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)
    return frozenset(runs)


def jaccard(one: frozenset[Any], other: frozenset[Any]) -> float:
    """Return the share of common elements among all; 0 for two empty sets."""
    union = len(one | other)
    return len(one & other) / union if union else 0.0


if __name__ == "__main__":
    sys.exit(main())
