"""What `bench_graph` measures, one part a process; peers run this file by a Python of their own."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

K, THREADS, THRESHOLD, QUERIES = 15, 2, 0.9, 2000


def by_latentlake(vectors: Any, _: int) -> Any:
    """Build a graph as the stage does, its recall measured; return the neighbours' rows."""
    import torch  # noqa: F401 - of a process that has encoded, as pynndescent's has compiled

    from models.analysis.graph import GraphOptions, build_graph
    from models.types import ArrayVectors, Metric
    from tasks.stages.threads import own_threads

    own_threads(THREADS)
    return build_graph(ArrayVectors(vectors), Metric.COSINE, K, GraphOptions(exact_flops=0)).rows


def by_pynndescent(vectors: Any, neighbours: int) -> Any:
    """Return the rows of the k nearest; numba has compiled on a few rows before."""
    import pynndescent  # type: ignore[import-not-found]  # of the other Python

    found, _ = pynndescent.NNDescent(
        vectors, "cosine", n_neighbors=max(neighbours, K + 1), n_jobs=THREADS, random_state=0
    ).neighbor_graph
    return found[:, 1 : K + 1]


def by_faiss(vectors: Any, rounds: int) -> Any:
    """Return the rows of the k nearest in the graph that FAISS's NNDescent leaves."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexNNDescentFlat(vectors.shape[1], K + 1, faiss.METRIC_INNER_PRODUCT)
    index.nndescent.iter = rounds
    index.nndescent.L = K + 51
    index.add(vectors)
    graph = faiss.vector_to_array(index.nndescent.final_graph)
    return graph.reshape(len(vectors), K + 1)[:, :K]


LIBRARIES: dict[str, Callable[[Any, int], Any]] = {
    "latentlake": by_latentlake,
    "pynndescent": by_pynndescent,
    "faiss nndescent": by_faiss,
}


def build(library: str, vectors: Any, truth: Any, effort: int) -> dict[str, Any]:
    """Time one graph, and measure its recall by similarity, so that ties count."""
    LIBRARIES[library](vectors[:3000], effort)  # imports, compilers and first touches
    baseline, cpu, began = _status("VmRSS"), time.process_time(), time.monotonic()
    found = LIBRARIES[library](vectors, effort)
    took, worked = time.monotonic() - began, time.process_time() - cpu
    rows = truth["rows"]
    lists = found[rows]
    reached = (
        np.einsum("qd,qkd->qk", vectors[rows], vectors[lists]) >= truth["least"][:, None] - 1e-6
    )
    reached &= (lists >= 0) & (lists != rows[:, None])
    return _figures(took, worked, baseline) | {"recall": round(float(reached.mean()), 4)}


def run_stage(stage: str, folder: Path) -> dict[str, Any]:
    """Run a stage of a lake."""
    from data.lake import Lake
    from latentlake.settings import load_settings
    from tasks.stages.indexing import index_space
    from tasks.stages.neighbours import link_neighbours
    from tasks.stages.reporting import report_space
    from tasks.stages.threads import own_threads

    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    own_threads(THREADS)
    baseline, cpu, began = _status("VmRSS"), time.process_time(), time.monotonic()
    if stage == "index":
        receipt = index_space(lake, settings, "own", "run")
    elif stage == "graph":
        receipt = link_neighbours(lake, settings, "own", "run")
    else:
        receipt = report_space(lake, settings, "own", "duplicates", "run")
    took, worked = time.monotonic() - began, time.process_time() - cpu
    return _figures(took, worked, baseline) | {"counts": receipt.counts, "notes": receipt.notes}


def pair_recall(folder: Path) -> dict[str, Any]:
    """Compare the stored pairs of some rows with those of an exact scan."""
    from data.lake import Lake
    from latentlake.settings import load_settings
    from models.indexes.streams import take
    from tasks.stages.pairing import stored_pairs
    from tasks.stages.spaces import require_space, space_vectors

    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    space = require_space(lake, settings, "own")
    vectors = space_vectors(lake, settings, space)
    found = stored_pairs(lake, space.key, vectors)
    keys = np.sort(found.first * vectors.rows + found.second)
    rows = np.sort(np.random.default_rng(7).choice(vectors.rows, QUERIES, replace=False))
    queries, start, true, held = take(vectors, rows), 0, 0, 0
    for batch in vectors.batches(16_384):
        query, other = np.nonzero(queries @ batch.T >= THRESHOLD)
        one, other = rows[query], other + start
        one, other = np.minimum(one, other)[one != other], np.maximum(one, other)[one != other]
        wanted = one * vectors.rows + other
        place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
        true, held = true + wanted.size, held + int((keys[place] == wanted).sum())
        start += len(batch)
    return {"pairs": found.count, "sampled": true, "recall": round(held / true, 4)}


def _figures(seconds: float, cpu_seconds: float, baseline: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "baseline_mb": round(baseline),
        "peak_mb": round(_status("VmHWM")),
    }


def _status(field: str) -> float:
    """Return a figure of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def main() -> None:
    """Print the figures of one part as JSON."""
    part, place, truth, effort = sys.argv[1:]
    if part in LIBRARIES:
        found = build(part, np.load(place), np.load(truth), int(effort))
    elif part == "pair recall":
        found = pair_recall(Path(place))
    else:
        found = run_stage(part, Path(place))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
