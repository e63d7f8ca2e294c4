"""Who finds the redundant rows, and for how much work? latentlake beside what people would take.

Over 100,000 vectors of real texts, by latent semantic analysis (`texts`) and by our encoder
`minilm` (see `vector_lake`), or other ones (`--vectors`), cosines of at least .9, each method in a
process of its own, on two threads:

* `latentlake`: the stage `duplicates` of a lake without an index, and its audit, which no peer has,
  each with its own processor seconds;
* `exact bf16 blocks`: all products by blocks in bfloat16, half of them by symmetry, decided in
  float32, and the same greedy cover;
* `SemDeDup's cells`: k-means, and all products within a cell;
* `semhash`: with its defaults, from the same vectors.

The truth is a scan in float32 of all pairs. A row is redundant where the greedy cover over the true
pairs removes it. Of each method's removals it is told which share of those it found, how many have
no kept row within the threshold, and how many true pairs have both rows kept.

And over photos whose groups are known (neardup_photos_dev): the hashes of imagededup beside
`duplicates_photos`.

The peers live in a Python of their own. imagededup's dependencies would bring another torch, and
its hashes need none of them:

    python -m venv peers && peers/bin/pip install semhash pillow scikit-learn PyWavelets
    peers/bin/pip install --no-deps imagededup
    .venv/bin/python benchmarks/duplicates_peers.py --peers peers/bin/python

Writes benchmarks/results/duplicates_peers.json; `--only` measures some again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from duplicate_thresholds import read_photos
from duplicates_photos import judged, measure
from incremental_lake import machine_facts
from removal_parts import HASH_BITS, HASH_THRESHOLD, HASHES, NO_TWIN, THREADS, THRESHOLD
from vector_lake import encoded_texts, make_lake, text_vectors

from models.analysis.duplicates import Pairs, greedy_cover

if TYPE_CHECKING:
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "duplicates_peers.json"
DATASETS = HERE.parents[1] / "shared" / "datasets"
ROWS, BLOCK, ROUNDING = 100_000, 4096, 1e-6
METHODS = ("latentlake", "exact bf16 blocks", "SemDeDup's cells", "semhash")
FOUND, OF_EXACT, OF_SEMHASH = 0.99, 8, 10
SETS = {"texts": text_vectors, "minilm": encoded_texts}


def true_pairs(vectors: Matrix) -> Pairs:
    """Return all pairs at or above the threshold by float32 products, row by row ascending."""
    parts = []
    for low in range(0, len(vectors), BLOCK):
        products = vectors[low : low + BLOCK] @ vectors[low:].T
        first, second = np.nonzero(products >= THRESHOLD - ROUNDING)
        upper = first < second
        first, second = first[upper], second[upper]
        parts.append((first + low, second + low, products[first, second]))
    return Pairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def judge(truth: Pairs, rows: int, decided: dict[str, Any]) -> dict[str, Any]:
    """Hold removals against the true pairs.

    Args:
        truth: all pairs within the threshold.
        rows: how many rows there are.
        decided: `removed` and `twins`; perhaps the `order` in which rows were walked, the pairs
            that were found, `first` and `second`, and of each row the one that stands for all
            with equal bytes in these pairs, `content`.
    """
    order = decided.get("order", np.arange(rows))
    redundant = greedy_cover(truth, order).removed
    removed = decided["removed"]
    stays = np.ones(rows, np.bool_)
    stays[removed] = False
    covered = np.zeros(rows, np.bool_)
    covered[truth.first[stays[truth.second]]] = True
    covered[truth.second[stays[truth.first]]] = True
    twins = decided["twins"]
    found = {
        "redundant": int(redundant.size),
        "removed": int(removed.size),
        "found": round(float(np.isin(redundant, removed).mean()), 4),
        "without_kept_twin": int((~covered[removed]).sum()),
        "named_twin_is_removed": int((~stays[twins[twins != NO_TWIN]]).sum()),
        "pairs_left": int((stays[truth.first] & stays[truth.second]).sum()),
    }
    if "first" in decided:
        low = np.minimum(decided["first"], decided["second"])
        high = np.maximum(decided["first"], decided["second"])
        content = decided.get("content", np.arange(rows))
        one, other = content[truth.first], content[truth.second]
        wanted = np.minimum(one, other) * rows + np.maximum(one, other)
        hits = np.isin(wanted[one != other], low * rows + high)
        found["pair_recall"] = round(float(hits.mean()), 4)
    return found


def run_part(python: str, *arguments: str) -> str:
    """Run a part in a process of its own, on as many threads as all, and return what it printed."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(THREADS))
    script = str(HERE / "removal_parts.py")
    done = subprocess.run(  # noqa: S603
        [python, script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **threads},
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def compare_vectors(folder: Path, path: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run all methods over one file of unit vectors."""
    vectors = np.load(path)
    kept = folder / f"{path.stem}.truth.npz"
    if not kept.exists():
        pairs = true_pairs(vectors)
        np.savez(kept, first=pairs.first, second=pairs.second, similarities=pairs.similarities)
    truth = Pairs(**np.load(kept))
    found: dict[str, Any] = {"rows": len(vectors), "dim": vectors.shape[1], "pairs": truth.count}
    for method in METHODS:
        if given.only and method not in given.only:
            continue
        python, place = sys.executable, path
        if method == "semhash":
            python = given.peers
        if method == "latentlake":
            place = folder / f"{path.stem}.lake"
            shutil.rmtree(place, ignore_errors=True)
            make_lake(place, iter(np.array_split(vectors, 2)), THRESHOLD, "6GB")
        if python:
            printed = run_part(python, method, str(place), str(folder / "decided.npz"))
            decided = dict(np.load(folder / "decided.npz"))
            figures = json.loads(printed.splitlines()[-1])
            found[method] = figures | judge(truth, len(vectors), decided)
            print(f"{path.stem:8} {method:18} {found[method]}", flush=True)
    return found


def ratios(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the bars ask: how many times our work the peers' is.

    The peers decide and do no more; with a lake there is an audit.
    """
    ours = found["latentlake"]
    decided, audit = (ours["stages"][stage]["cpu_seconds"] for stage in ("duplicates", "audit"))
    work = {"from bare vectors": decided, "with the audit": decided + audit}
    drawn: dict[str, Any] = {"found": f"{ours['found']:.4f}, at least {FOUND}"}
    for peer, bar in (("exact bf16 blocks", OF_EXACT), ("semhash", OF_SEMHASH)):
        for name, seconds in work.items():
            if peer in found:
                share = found[peer]["cpu_seconds"] / seconds
                drawn[f"{peer}, {name}"] = f"{share:.1f} times, at least {bar}"
    return drawn


def compare_photos(folder: Path, archive: Path, peers: str) -> dict[str, Any]:
    """Run imagededup's hashes over the photos whose groups are known, and latentlake's report."""
    photos = read_photos(archive)
    place = folder / "photos"
    place.mkdir(exist_ok=True)
    for number, photo in enumerate(photos):
        (place / f"{number:04}.img").write_bytes(photo.payload)
    groups = np.array([photo.group for photo in photos])
    upper = np.triu_indices(len(photos), 1)
    same = (groups[:, None] == groups[None])[upper]
    run_part(peers, "hashes", str(place), str(folder / "hashes.json"))
    hashed = json.loads((folder / "hashes.json").read_text())
    found: dict[str, Any] = {"photos": len(photos), "true_pairs": int(same.sum())}
    for name in HASHES:
        found[name] = _judge_hashes(hashed[name], groups, upper, same)
        print(f"photos   {name:18} {found[name]}", flush=True)
    project = folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    own = measure(project, archive)
    found["latentlake"] = {
        "stages": own["seconds"],
        **{name: own["verified"][name] for name in ("precision", "recall", "average_precision")},
        "recall_at_99": own["verified"]["recall_at_99"],
        "removed": own["removals"]["count"],
        "removed_rightly": own["removals"]["true"],
    }
    print(f"photos   latentlake         {found['latentlake']}", flush=True)
    return found


def _judge_hashes(found: dict[str, Any], groups: Any, upper: Any, same: Any) -> dict[str, Any]:
    """Hold hashes against the groups: all pairs by distance, and the removals by the default."""
    distances = np.full((groups.size, groups.size), HASH_BITS + 1.0, np.float32)
    for one, others in found["distances"].items():
        for other, distance in others:
            distances[int(Path(one).stem), int(Path(other).stem)] = distance
    scored = judged(-distances[upper], same, int(same.sum()), -HASH_THRESHOLD)
    removed = np.array([int(Path(one).stem) for one in found["removed"]], np.int64)
    stays = np.ones(groups.size, np.bool_)
    stays[removed] = False
    near = (distances <= HASH_THRESHOLD) & stays
    right = (near & (groups[:, None] == groups[None]))[removed].any(axis=1)
    return {name: found[name] for name in ("seconds", "cpu_seconds")} | {
        **{name: round(float(value), 4) for name, value in scored.items() if name != "threshold"},
        "removed": int(removed.size),
        "removed_rightly": int(right.sum()),
        "without_kept_twin": int((~near[removed].any(axis=1)).sum()),
    }


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", help="a Python with semhash and imagededup")
    parser.add_argument("--datasets", type=Path, default=DATASETS)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--vectors", type=Path, nargs="*", default=[], help="files of unit vectors")
    parser.add_argument("--only", nargs="+", help="methods, or `photos`; others keep their figures")
    parser.add_argument("--folder", type=Path, help="where vectors and truths are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    result: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    result |= {"machine": machine_facts(), "threshold": THRESHOLD, "threads": THREADS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        wanted = given.sets if given.only != ["photos"] else ()
        for name in wanted:
            if not (folder / f"{name}.npy").exists():
                np.save(folder / f"{name}.npy", SETS[name](given.datasets, ROWS))
        for path in (*(folder / f"{name}.npy" for name in wanted), *given.vectors):
            result[path.stem] = result.get(path.stem, {}) | compare_vectors(folder, path, given)
            if "latentlake" in result[path.stem]:
                result[path.stem]["bars"] = ratios(result[path.stem])
                print(json.dumps(result[path.stem]["bars"], indent=1))
        if given.peers and (not given.only or "photos" in given.only):
            archive = given.datasets / "neardup_photos_dev.tar.zst"
            result["photos"] = compare_photos(folder, archive, given.peers)
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
