"""The neighbour graph and near-duplicate pairs: time, memory and recall, beside those of others.

Three parts, each figure from a process of its own, so that its high-water mark is its own:

* `peers`: 100,000 vectors of 384 dimensions, made and real. The graph with k = 15 by latentlake
  (its recall measured), pynndescent and FAISS's NNDescent, as hard as each must try for recall .9;
* `scale`: the stages `index`, `graph` and `duplicates` over a lake of 100,000 and of 1,000,000
  rows, with the recall of pairs above .9 by an exact scan for 2,000 rows;
* the exponent of time between the two sizes.

The peers need not be in the project's environment: `--peers` names another Python that has them.

    python -m venv peers && peers/bin/pip install pynndescent faiss-cpu
    .venv/bin/python benchmarks/bench_graph.py --peers peers/bin/python

Writes benchmarks/results/graph.json. `--parts scale --sizes 100000` is the quick half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from incremental_lake import machine_facts
from vector_lake import DIM, made_vectors, make_lake, text_vectors

RESULTS = Path(__file__).parent / "results" / "graph.json"
DATASETS = Path(__file__).resolve().parents[2] / "shared" / "datasets"
THRESHOLD, K, RECALL, ROWS = 0.9, 15, 0.9, 100_000
QUERIES = 2000
PAIR_RECALL, MOST_SECONDS, MOST_MB = 0.98, 90.0, 6000.0
EFFORTS: dict[str, tuple[int, ...]] = {
    "latentlake": (0,),
    "pynndescent": (16, 17, 18, 20, 25, 30),  # neighbours that its own search keeps
    "faiss nndescent": (6, 7, 8, 10),  # rounds; 10 is its default
}


def measure(python: str, *arguments: str) -> dict[str, Any]:
    """Run a part in a process of its own, and return what it printed last."""
    script = str(Path(__file__).with_name("graph_parts.py"))
    done = subprocess.run(  # noqa: S603
        [python, script, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(folder: Path, name: str, vectors: np.ndarray, peers: str | None) -> dict[str, Any]:
    """Build a graph by each library, with the least effort that reaches the recall."""
    path = folder / f"{name}.npy"
    np.save(path, vectors)
    rows = np.sort(np.random.default_rng(7).choice(len(vectors), QUERIES, replace=False))
    similarities = vectors[rows] @ vectors.T
    similarities[np.arange(QUERIES), rows] = -2
    least = np.partition(similarities, -K, axis=1)[:, -K]
    np.savez(folder / "truth.npz", rows=rows, least=least)
    found = {}
    for library, efforts in EFFORTS.items():
        python = sys.executable if library == "latentlake" else peers
        for effort in efforts if python else ():
            assert python is not None  # noqa: S101
            made = measure(python, library, str(path), str(folder / "truth.npz"), str(effort))
            found[library] = made | {"effort": effort}
            print(f"{name:6} {library:16} {found[library]}", flush=True)
            if made["recall"] >= RECALL:
                break
    return found


def scale(folder: Path, rows: int, stages: list[str]) -> dict[str, Any]:
    """Run the stages over a lake, and measure what share of the pairs was found."""
    place = folder / f"lake{rows}"
    make_lake(place, made_vectors(rows), THRESHOLD, "6GB")
    found = {}
    for stage in (*stages, *(["pair recall"] if "duplicates" in stages else [])):
        found[stage] = measure(sys.executable, stage, str(place), "", "0")
        print(f"{rows:9,} {stage:12} {found[stage]}", flush=True)
    return found


def drawn_from(scales: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the exponents of time between the sizes, and what the bars ask of the largest."""
    large, drawn = scales[max(scales)], dict[str, Any]()
    if "duplicates" in large:
        pairs = large["duplicates"]
        drawn["pairs above the bar"] = {
            "seconds": f"{pairs['seconds']:.0f} of {MOST_SECONDS:.0f}",
            "peak_mb": f"{pairs['peak_mb']:.0f} of {MOST_MB:.0f}",
            "recall": f"{large['pair recall']['recall']:.3f}, at least {PAIR_RECALL}",
        }
    if len(scales) > 1:
        sizes = sorted(scales)
        for stage in scales[sizes[0]].keys() - {"pair recall"}:
            times = [scales[size][stage]["cpu_seconds"] for size in sizes]
            slope = np.polyfit(np.log(sizes), np.log(times), 1)[0]
            drawn[f"{stage}: CPU time ~ rows^"] = round(float(slope), 2)
    return drawn


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["peers", "scale"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--stages", nargs="+", default=["index", "graph", "duplicates"])
    parser.add_argument("--peers", help="a Python with pynndescent and faiss")
    parser.add_argument("--datasets", type=Path, default=DATASETS)
    parser.add_argument("--folder", type=Path, help="lakes that are there are taken")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    result: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    result |= {"command": "python benchmarks/bench_graph.py", "machine": machine_facts()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "peers" in given.parts:
            made = np.concatenate(list(made_vectors(ROWS)))
            result["peers"] = {"made": compare(folder, "made", made, given.peers)}
            if given.datasets.is_dir():
                real = text_vectors(given.datasets, ROWS)
                result["peers"]["real"] = compare(folder, "real", real, given.peers)
        if "scale" in given.parts:
            scales = {rows: scale(folder, rows, given.stages) for rows in given.sizes}
            result["scale"], result["drawn"] = scales, drawn_from(scales)
            print(json.dumps(result["drawn"], indent=1))
    result["shape"] = {"rows": ROWS, "dim": DIM, "k": K, "threshold": THRESHOLD}
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
