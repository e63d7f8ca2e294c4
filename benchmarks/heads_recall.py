"""What linear heads keep of real vectors: neighbours, search and reconstruction.

Fashion-MNIST's 60,000 training pictures as vectors of 784 pixels, its first 1,000 test pictures as
queries, and their supplied exact neighbours. Each head is fitted by the stages; all are measured
against the same truth in one run, by exact search, so that no index has a part in it.

    python benchmarks/heads_recall.py --datasets ../shared/datasets
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.lake import Lake
from latentlake.settings import load_settings
from models.encoders.head import read_head
from models.indexes.exact import exact_search
from models.types import Metric
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.ingesting import ingest_source
from tasks.stages.planning import plan_embedding
from tasks.stages.spaces import live_encoder, make_space, space_vectors

if TYPE_CHECKING:
    from data.vectors import ShardVectors
    from models.encoders.base import Encoder
    from models.types import Matrix

K = 10
HEADS = {
    "none": "",
    "pca 32": "reduce = { pca = 32 }",
    "pca 64": "reduce = { pca = 64 }",
    "pca 128": "reduce = { pca = 128 }",
    "pca 256": "reduce = { pca = 256 }",
    "pca 64, centre": "reduce = { pca = 64 }\ncentre = true",
    "pca 64, not centred": "reduce = { pca = 64 }\ncentre = false",
    "pca 256, centre": "reduce = { pca = 256 }\ncentre = true",
    "pca 64, whiten": "reduce = { pca = 64, whiten = true }",
}
CONFIG = """
[[sources]]
name = "pixels"
kind = "vectors"
uri = "pixels.npy"
[[spaces]]
name = "own"
encoder = "vectors"
sources = ["pixels"]
options = {{ metric = "{metric}" }}
{head}
"""


def pictures(datasets: Path, name: str) -> Matrix:
    """Return (pictures, 784) float32 of an IDX file."""
    with gzip.open(datasets / "fashion_mnist" / name) as file:
        raw = np.frombuffer(file.read(), np.uint8, offset=16)
    return raw.reshape(-1, 784).astype(np.float32)


def embedded(folder: Path, metric: str, head: str) -> tuple[ShardVectors, Encoder[Any, Any], Any]:
    """Make a space in the folder's lake; return its vectors, its encoder and its head, if any."""
    (folder / "latentlake.toml").write_text(CONFIG.format(metric=metric, head=head), "utf-8")
    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    ingest_source(lake, settings, "pixels", "bench")
    space = make_space(lake, settings, "own", "bench")
    plan = plan_embedding(lake, settings, space)
    receipts = [r for group in plan.groups for r in encode_group(lake, settings, space, group)]
    commit_embedding(lake, space, plan, receipts, "bench")
    found = lake.root / (space.artefact or "") / "head"
    return (
        space_vectors(lake, settings, space),
        live_encoder(lake, settings, space),
        read_head(found).manifest if found.is_dir() else None,
    )


def recall_of(vectors: ShardVectors, queries: Matrix, truth: Any, metric: str, order: Any) -> float:
    """Return which share of each query's true nearest is among the nearest in the space."""
    found = exact_search(vectors, queries, K, Metric(metric))
    rows = order[found.rows]
    hits = [len(set(mine) & set(real)) for mine, real in zip(rows, truth[:, :K], strict=True)]
    return float(np.mean(hits) / K)


def order_of(lake_vectors: ShardVectors, folder: Path) -> Any:
    """Return each stored row's number in the source."""
    settings = load_settings(folder / "latentlake.toml")
    items = Lake(settings.root).read("items", columns=["content_id", "position"])
    place = dict(zip(items["content_id"].to_pylist(), items["position"].to_pylist(), strict=True))
    return np.array([place[content] for content in lake_vectors.content_ids.to_pylist()])


def lost_by_numpy(train: Matrix, pca: int, *, centre: bool) -> float:
    """Return what the best projection of so many dimensions loses of all vectors."""
    rows = train.astype(np.float64)
    rows -= rows.mean(axis=0) if centre else 0
    squares = np.linalg.eigvalsh(rows.T @ rows)[::-1]
    return float(1 - squares[:pca].sum() / squares.sum())


def main() -> None:
    """Measure every head under both metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/heads.json"))
    given = parser.parse_args()
    train = pictures(given.datasets, "train-images-idx3-ubyte.gz")[: given.rows]
    queries = pictures(given.datasets, "t10k-images-idx3-ubyte.gz")[:1000]
    truth = np.load(given.datasets / "fashion_mnist_784_groundtruth.npz")
    results = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "pixels.npy", train)
        for metric, key in (("l2", "l2_ids"), ("cosine", "cos_ids")):
            for name, head in HEADS.items():
                began = time.monotonic()
                vectors, encoder, manifest = embedded(folder, metric, head)
                order = order_of(vectors, folder)
                asked = encoder.encode([encoder.prepare(query) for query in queries])
                row: dict[str, Any] = {
                    "metric": metric,
                    "head": name,
                    "recall_at_10": recall_of(vectors, asked, truth[key], metric, order),
                    "bytes_of_a_vector": 4 * encoder.dim,
                    "seconds": round(time.monotonic() - began, 1),
                }
                if manifest is not None:
                    best = lost_by_numpy(train, manifest.pca, centre=manifest.centre)
                    row |= {"centre": manifest.centre, "lost": manifest.lost, "lost_by_numpy": best}
                print(json.dumps(row), flush=True)
                results.append(row)
    given.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
