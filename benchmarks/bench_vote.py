"""Do the lake's neighbours mean what they should? Leave-one-out votes and the index's recall.

Builds a lake from clothing_photos_600 and arxiv_abstracts.parquet (or takes one that is there),
then prints, for each space, how often the majority label of an item's 10 nearest neighbours is
its own

* by the neighbour graph that the pipeline stored, and
* by brute force with numpy over the vectors in the shards,

and holds the recall that is stored beside the index against brute force on queries of its own.

    .venv/bin/python benchmarks/bench_vote.py --datasets ../shared/datasets
    .venv/bin/python benchmarks/bench_vote.py --config my/latentlake.toml

Exit status 1 if a vote differs by more than .01 or a recall lies outside its interval.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from data.catalog import current_spaces
from data.lake import Lake
from latentlake.settings import Settings, load_settings
from tasks.stages.indexing import stored_index
from tasks.stages.spaces import space_vectors
from tasks.stages.stored_graph import stored_graph

K = 10
QUERIES = 1000
TOLERANCE = 0.01
CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "clothing_photos"
[[sources]]
name = "abstracts"
kind = "text"
uri = "{abstracts}"
text = "abstract"
key = "arxiv_id"
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["abstracts"]
"""
Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """What is printed of one space."""

    space: str
    rows: int
    stored_vote: float
    brute_vote: float
    stored_recall: tuple[float, float, float]
    measured_recall: float

    @property
    def passes(self) -> bool:
        """Whether votes and recalls agree."""
        _, low, high = self.stored_recall
        votes = abs(self.stored_vote - self.brute_vote) <= TOLERANCE
        return votes and low - 1e-9 <= self.measured_recall <= high + 1e-9


def main() -> int:
    """Build or open a lake, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, help="an existing project that has been run")
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    arguments = parser.parse_args()
    if arguments.config:
        return compare(load_settings(arguments.config))
    if not (arguments.datasets / "arxiv_abstracts.parquet").is_file():
        print(f"skipped: no data sets at {arguments.datasets} (--datasets names another folder)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return compare(build(Path(folder), arguments.datasets.absolute()))


def build(folder: Path, datasets: Path) -> Settings:
    """Run the pipeline over both data sets in a new folder."""
    from latentlake.cli.main import cli

    packed = (datasets / "clothing_photos_600.tar.zst").read_bytes()
    unpacked = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed))
    with tarfile.open(fileobj=unpacked, mode="r|") as archive:
        archive.extractall(folder, filter="data")
    config = folder / "latentlake.toml"
    abstracts = (datasets / "arxiv_abstracts.parquet").as_posix()
    config.write_text(CONFIG.format(abstracts=abstracts), "utf-8")
    cli.main(["run", "--config", str(config)], standalone_mode=False)
    return load_settings(config)


def compare(settings: Settings) -> int:
    """Print a line a space and a JSON line at the end."""
    lake = Lake(settings.root)
    results = [compare_space(lake, settings, name) for name in current_spaces(lake)]
    print(
        f"{'space':8} {'rows':>7}  {'vote, graph':>11} {'vote, numpy':>11}  "
        f"{'recall stored':>22} {'measured':>8}"
    )
    for result in results:
        recall, low, high = result.stored_recall
        print(
            f"{result.space:8} {result.rows:7,}  {result.stored_vote:11.4f} "
            f"{result.brute_vote:11.4f}  {recall:6.4f} [{low:.4f}, {high:.4f}] "
            f"{result.measured_recall:8.4f}  {'ok' if result.passes else 'FAILS'}"
        )
    print(json.dumps([result.__dict__ for result in results]))
    return 0 if all(result.passes for result in results) else 1


def compare_space(lake: Lake, settings: Settings, name: str) -> Result:
    """Vote twice and measure the index's recall anew."""
    space = current_spaces(lake)[name]
    vectors = space_vectors(lake, settings, space)
    matrix = unit(np.concatenate(list(vectors.batches(16384))))
    labels = labels_of(lake, settings, name, vectors.content_ids.to_pylist())
    graph = stored_graph(lake, space, vectors)
    brute = nearest(matrix, np.arange(len(matrix)))
    stored = stored_index(lake, space)
    if stored is None:
        message = f"space '{name}' has no index"
        raise SystemExit(message)
    details = json.loads(
        next(
            row["details"]
            for row in lake.read("builds").to_pylist()
            if (row["space"], row["stage"]) == (name, "index")
        )
    )
    sample = np.random.default_rng(7).choice(len(matrix), min(QUERIES, len(matrix)), replace=False)
    found = stored[0].search(matrix[sample], K + 1).without(sample)
    return Result(
        name,
        len(matrix),
        vote(graph.rows[:, :K], labels),
        vote(brute, labels),
        (details["recall"], details["recall_low"], details["recall_high"]),
        recall_of(matrix, sample, found.rows, brute[sample]),
    )


def unit(matrix: Matrix) -> Matrix:
    """Scale rows to length 1."""
    scaled: Matrix = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return scaled


def nearest(matrix: Matrix, rows: Rows) -> Rows:
    """Return the K nearest others of some rows by the full matrix of cosines."""
    found = np.empty((len(rows), K), np.int64)
    for start in range(0, len(rows), 512):
        block = rows[start : start + 512]
        similarities = matrix[block] @ matrix.T
        similarities[np.arange(len(block)), block] = -np.inf
        best = np.argpartition(-similarities, K - 1, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(similarities, best, axis=1), axis=1)
        found[start : start + 512] = np.take_along_axis(best, order, axis=1)
    return found


def recall_of(matrix: Matrix, queries: Rows, found: Rows, truth: Rows) -> float:
    """Return recall@K; a row as near as the true K-th counts, whatever its number."""
    farthest = np.einsum("ij,ij->i", matrix[queries], matrix[truth[:, -1]])
    near = np.einsum("ij,ikj->ik", matrix[queries], matrix[found])
    return float(((near >= farthest[:, None] - 1e-6) & (found >= 0)).mean())


def labels_of(lake: Lake, settings: Settings, name: str, content_ids: list[str]) -> list[Any]:
    """Return a photo's folder, or a text's primary category, for each content."""
    sources = pa.array(settings.space(name).sources, pa.string())
    columns = ["content_id", "uri", "metadata"]
    live = ~pc.field("deleted")
    items = lake.read("items", where=live, within=("source", sources), columns=columns)
    items = items.sort_by("uri")
    label: dict[str, Any] = {}
    for row in items.to_pylist():
        category = json.loads(row["metadata"]).get("primary_cat")
        label.setdefault(row["content_id"], category or row["uri"].rpartition("/")[0])
    return [label[content_id] for content_id in content_ids]


def vote(neighbours: Rows, labels: list[Any]) -> float:
    """Return how often the most frequent label of the neighbours (the nearest's first) is right."""
    right = 0
    for row, others in enumerate(neighbours):
        counts = Counter(labels[other] for other in others if other >= 0)
        right += bool(counts) and counts.most_common(1)[0][0] == labels[row]
    return right / len(labels)


if __name__ == "__main__":
    sys.exit(main())
