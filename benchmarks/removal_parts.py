"""What `duplicates_peers` measures, a part a process; peers run this file by their own Python.

Parts over vectors take a file of unit vectors and leave who is removed in favour of whom; the part
`hashes` takes a folder of photos and leaves pairs with their distances.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from data.lake import Lake
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

THRESHOLD, THREADS, NO_TWIN = 0.9, 2, -1
BLOCK, ROUNDING = 8192, 1e-6
BF16_ERROR = 0.008
"""Two factors and the product are rounded to 8 bits: 3 / 2^9 of a product of unit vectors."""
CELLS, ROUNDS = 256, 20
HASHES = ("PHash", "DHash", "AHash", "WHash")
HASH_BITS = 64
HASH_THRESHOLD = 10
"""imagededup's default: the most bits in which the hashes of duplicates differ."""


class Clock:
    """Processor's seconds of this process and its children, and those of the wall."""

    def __init__(self) -> None:
        self.began, self.worked = time.monotonic(), _processor()

    def figures(self) -> dict[str, float]:
        """Return what has passed."""
        wall, cpu = time.monotonic() - self.began, _processor() - self.worked
        return {"seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}


def _processor() -> float:
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def by_exact_blocks(vectors: Any) -> dict[str, Any]:
    """All pairs by bf16 products of blocks, the upper triangle; float32 decides near the threshold.

    Then the greedy cover in the order of the rows, as latentlake decides.
    """
    import torch

    from models.analysis.duplicates import Pairs, greedy_cover

    torch.set_num_threads(THREADS)
    whole = torch.from_numpy(vectors)
    half, least = whole.bfloat16(), THRESHOLD - BF16_ERROR
    found = [torch.empty((0, 2), dtype=torch.int64)]
    for low in range(0, len(half), BLOCK):
        for start in range(low, len(half), BLOCK):
            products = half[low : low + BLOCK] @ half[start : start + BLOCK].T
            rows = (products.amax(1) > least).nonzero()[:, 0]
            near = (products[rows] > least).nonzero()
            found.append(torch.stack((rows[near[:, 0]] + low, near[:, 1] + start), 1))
    first, second = torch.cat(found).T
    first, second = first[first < second], second[first < second]
    cosines = torch.cat(
        [
            torch.linalg.vecdot(whole[one], whole[other])
            for one, other in zip(first.split(BLOCK), second.split(BLOCK), strict=True)
        ]
    )
    enough = cosines >= THRESHOLD - ROUNDING
    pairs = Pairs(first[enough].numpy(), second[enough].numpy(), cosines[enough].numpy())
    cover = greedy_cover(pairs, np.arange(len(vectors)))
    return {
        "removed": cover.removed,
        "twins": cover.twins,
        "first": pairs.first,
        "second": pairs.second,
    }


def by_cells(vectors: Any) -> dict[str, Any]:
    """SemDeDup: k-means, and in each cell whoever is near to anyone before it goes.

    Abbas et al. 2023; NeMo Curator does the same. The order in a cell is that of the rows here,
    so that the removals compare with those of the others.
    """
    import faiss
    import torch

    faiss.omp_set_num_threads(THREADS)
    torch.set_num_threads(THREADS)
    means = faiss.Kmeans(vectors.shape[1], CELLS, niter=ROUNDS, spherical=True, seed=0)
    means.train(vectors)
    cells = means.index.search(vectors, 1)[1][:, 0]
    whole, removed, twins = torch.from_numpy(vectors), [], []
    for cell in range(CELLS):
        rows = np.flatnonzero(cells == cell)
        if rows.size > 1:
            products = torch.triu(whole[rows] @ whole[rows].T, diagonal=1)
            nearest, place = (one.numpy() for one in products.max(0))
            removed.append(rows[nearest >= THRESHOLD])
            twins.append(rows[place[nearest >= THRESHOLD]])
    return {"removed": np.concatenate(removed), "twins": np.concatenate(twins)}


def by_semhash(vectors: Any) -> dict[str, Any]:
    """Run semhash with its defaults, from vectors that are there."""
    from semhash import SemHash  # type: ignore[import-not-found]  # of the other Python

    records = [str(row) for row in range(len(vectors))]
    hashed = SemHash.from_embeddings(vectors, records, model=None)
    filtered = hashed.self_deduplicate(threshold=THRESHOLD).filtered
    removed = np.array([int(one.record) for one in filtered])
    return {"removed": removed, "twins": np.array([int(one.duplicate_of) for one in filtered])}


METHODS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "exact bf16 blocks": by_exact_blocks,
    "SemDeDup's cells": by_cells,
    "semhash": by_semhash,
}


def by_latentlake(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the stages of a lake of these vectors: what they took, and what they decided."""
    from data.lake import Lake
    from latentlake.settings import load_settings
    from tasks.stages.reporting import report_space
    from tasks.stages.threads import own_threads

    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    own_threads(THREADS)
    unaudited = settings.with_duplicates(name, {"audit": 0})
    steps: dict[str, Callable[[], StageReceipt]] = {
        "duplicates": lambda: report_space(lake, unaudited, name, "duplicates", "run"),
        "audit": lambda: report_space(lake, settings, name, "duplicates", "run"),
    }
    _warm_up(name)
    stages: dict[str, Any] = {}
    for stage, step in steps.items():
        clock = Clock()
        receipt = step()
        stages[stage] = clock.figures() | {"notes": receipt.notes}
    return {
        "seconds": round(sum(one["seconds"] for one in stages.values()), 2),
        "cpu_seconds": round(sum(one["cpu_seconds"] for one in stages.values()), 2),
        "stages": stages,
    }, _decisions(lake, settings, name)


def _warm_up(name: str) -> None:
    """Import and compile what a process has that has run a pipeline before; peers have theirs."""
    import torch  # noqa: F401
    from vector_lake import make_lake

    from data.lake import Lake
    from models.analysis.pairs import find_all_pairs
    from models.types import ArrayVectors, Metric
    from tasks.stages.reporting import report_space

    some = np.random.default_rng(0).standard_normal((3000, 384), np.float32)
    find_all_pairs(ArrayVectors(some), Metric.COSINE, THRESHOLD)
    with tempfile.TemporaryDirectory() as folder:
        settings = make_lake(Path(folder), iter([some]), THRESHOLD, "6GB")
        report_space(Lake(settings.root), settings, name, "duplicates", "run")


def _decisions(lake: Lake, settings: Settings, name: str) -> dict[str, Any]:
    """Return what a lake's tables say, by the rows of the file its items came from."""
    from tasks.stages.deduplicating import ranked_items
    from tasks.stages.pairing import stored_pairs
    from tasks.stages.rules import order_of
    from tasks.stages.spaces import require_space, space_vectors

    space = require_space(lake, settings, name)
    items = sorted(lake.read("items").to_pylist(), key=lambda item: item["position"])
    row_of = {item["item_id"]: item["position"] for item in items}
    rows_of = {item["content_id"]: item["position"] for item in items}
    vectors = space_vectors(lake, settings, space)
    pairs = stored_pairs(lake, space.key, vectors)
    contents = np.array([rows_of[one] for one in vectors.content_ids.to_pylist()])
    ranked = ranked_items(lake, ("mine",), order_of(settings.space(name).duplicates))
    removals = lake.read("duplicates").to_pylist()
    return {
        "removed": np.array([row_of[one["item_id"]] for one in removals]),
        "twins": np.array([row_of[one["twin_id"]] for one in removals]),
        "order": np.array([row_of[one] for one in ranked["item_id"].to_pylist()]),
        "first": contents[pairs.first],
        "second": contents[pairs.second],
        "content": np.array([rows_of[item["content_id"]] for item in items]),
    }


def hash_photos(folder: Path) -> dict[str, Any]:
    """Run imagededup's hashes over a folder: all distances, and the removals by its default."""
    hashing = _imagededup_hashing()
    found = {}
    for name in HASHES:
        clock = Clock()
        hasher = getattr(hashing, name)(verbose=False)
        codes = hasher.encode_images(folder, num_enc_workers=0)
        near = hasher.find_duplicates(encoding_map=codes, max_distance_threshold=HASH_THRESHOLD)
        gone = hasher.find_duplicates_to_remove(
            encoding_map=codes, max_distance_threshold=HASH_THRESHOLD
        )
        figures = clock.figures()
        distances = hasher.find_duplicates(
            encoding_map=codes, max_distance_threshold=HASH_BITS, scores=True, num_dist_workers=0
        )
        found[name] = figures | {"near": near, "removed": gone, "distances": distances}
    return found


def _imagededup_hashing() -> Any:
    """Import imagededup's hashes alone: its packages import torchvision for the networks beside."""
    import importlib.util

    spec = importlib.util.find_spec("imagededup")
    assert spec is not None  # noqa: S101
    assert spec.submodule_search_locations  # noqa: S101
    for part in ("methods", "utils"):
        package = ModuleType(f"imagededup.{part}")
        package.__path__ = [f"{spec.submodule_search_locations[0]}/{part}"]
        sys.modules[package.__name__] = package
    return importlib.import_module("imagededup.methods.hashing")


def main() -> None:
    """Print the figures of one part as JSON, and leave the decisions in a file."""
    part, place, out = sys.argv[1:]
    if part == "hashes":
        Path(out).write_text(json.dumps(hash_photos(Path(place))))
        return
    if part == "latentlake":
        figures, decided = by_latentlake(Path(place), "own")
    else:
        vectors = np.load(place)
        METHODS[part](vectors[:3000])  # imports, compilers and first touches
        clock = Clock()
        decided = METHODS[part](vectors)
        figures = clock.figures()
    np.savez(out, **decided)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures | {"peak_mb": round(peak)}))


if __name__ == "__main__":
    main()
