"""How do time and memory of ingest, embed and commit grow with the number of items?

Makes a Parquet file of short synthetic texts (and, on request, folders of tiny PNGs), and runs each
stage in a process of its own, at each size:

* `ingest`: read the source, compare it with the lake, commit items and files;
* `train`: write the corpus down and fit the encoder's common component to a sample of 20,000 texts;
* `embed`: plan the shards and encode them;
* `commit`: register the shards, record the run, make the snapshot and the catalog;
* `no news`: list, look at every space, and find nothing to do;
* `news`: 10,000 further items, from a second file, through all of the above.

The texts are encoded by `word2vec` with word vectors that are given (1,000 words of 32 dimensions,
random): the training of word vectors costs the same from five million words on, by its own design,
and an encoder that costs little shows what the stages around it cost.

    .venv/bin/python benchmarks/bench_scale.py --sizes 10000 100000 1000000

Prints the table, the exponents of time between the sizes by least squares on logarithms, and what
the peak of memory grows by from one size to the next; writes benchmarks/results/scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scale_sources import make_images, make_texts, write_texts
from scale_stages import RESULTS_OF, run_stage

STAGES = ("ingest", "train", "embed", "commit", *RESULTS_OF, "no news", "news")
HELD_TO = ("ingest", "embed", "commit")
NEWS = 10_000
RESULTS = Path(__file__).parent / "results" / "scale.json"


@dataclass(frozen=True)
class Measured:
    """One stage at one size.

    Attributes:
        items: the size.
        stage: which.
        seconds: wall time of the stage, imports left out.
        cpu_seconds: of the process, imports left out.
        baseline_mb: resident memory after the imports.
        peak_mb: the most resident memory (VmHWM).
    """

    items: int
    stage: str
    seconds: float
    cpu_seconds: float
    baseline_mb: float
    peak_mb: float


# What starts the processes and reads the figures --------------------------------------------------


def measure(stage: str, folder: Path, items: int) -> Measured:
    """Run a stage in a fresh process."""
    command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{stage} of {items} items failed:\n{done.stderr}")
    found = {name: round(value, 3) for name, value in json.loads(done.stdout).items()}
    return Measured(items=items, stage=stage, **found)


def measure_texts(folder: Path, items: int, memory: str) -> list[Measured]:
    """Run every stage on a lake of texts."""
    make_texts(folder, items, memory)
    measured = []
    for stage in STAGES:
        if stage == "news":
            write_texts(folder / "texts" / "b.parquet", NEWS, 2)
        measured.append(measure(stage, folder, items))
        print("texts", *asdict(measured[-1]).values(), flush=True)
    return measured


def measure_images(folder: Path, items: int, memory: str) -> list[Measured]:
    """Run ingestion on folders of images; a second time without news."""
    make_images(folder, items, memory)
    measured = []
    for stage in ("ingest", "no news"):
        measured.append(measure(stage, folder, items))
        print("images", *asdict(measured[-1]).values(), flush=True)
    return measured


def exponent(measured: list[Measured], stage: str, clock: str) -> float:
    """Return the slope of log(seconds) over log(items), by a clock of `Measured`."""
    points = [(m.items, getattr(m, clock)) for m in measured if m.stage == stage]
    items, seconds = zip(*points, strict=True)
    return round(float(np.polyfit(np.log(items), np.log(seconds), 1)[0]), 3)


def growth(measured: list[Measured], stage: str) -> float:
    """Return the peak of memory at the largest size, divided by that at the one before."""
    peaks = [m.peak_mb for m in sorted(measured, key=lambda m: m.items) if m.stage == stage]
    return round(peaks[-1] / peaks[-2], 3)


def print_table(kind: str, measured: list[Measured]) -> dict[str, Any]:
    """Print what was measured of a kind of items; return the figures drawn from it."""
    print(f"\n{kind:8} {'items':>9} {'seconds':>9} {'CPU s':>8} {'peak MB':>8} {'above base':>11}")
    for m in measured:
        above = m.peak_mb - m.baseline_mb
        figures = f"{m.seconds:9.2f} {m.cpu_seconds:8.2f} {m.peak_mb:8.0f} {above:11.0f}"
        print(f"{m.stage:8} {m.items:9} {figures}")
    stages = list(dict.fromkeys(m.stage for m in measured))
    if len({m.items for m in measured}) < 2:  # noqa: PLR2004
        return {}
    drawn = {
        stage: {
            "exponent": exponent(measured, stage, "seconds"),
            "cpu_exponent": exponent(measured, stage, "cpu_seconds"),
            "peak_growth": growth(measured, stage),
        }
        for stage in stages
    }
    for stage, known in drawn.items():
        wall, cpu = known["exponent"], known["cpu_exponent"]
        print(f"{stage:8} time ~ items^{wall}, CPU ~ items^{cpu}, peak x {known['peak_growth']}")
    return drawn


def main() -> None:
    """Measure, print, and write the figures down."""
    arguments = _arguments()
    if arguments.stage:
        print(json.dumps(run_stage(arguments.stage, arguments.folder)))
        return
    found: dict[str, list[Measured]] = {"texts": [], "images": []}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as root:
        for kind, sizes, measuring in (
            ("texts", arguments.sizes, measure_texts),
            ("images", arguments.images, measure_images),
        ):
            for items in sizes:
                folder = Path(root, f"{kind}{items}")
                found[kind] += measuring(folder, items, arguments.memory)
                shutil.rmtree(folder)
    drawn = {kind: print_table(kind, rows) for kind, rows in found.items() if rows}
    result = {
        "command": " ".join(["python", "benchmarks/bench_scale.py", *sys.argv[1:]]),
        "machine": {"processor": platform.machine(), "cores": len(os.sched_getaffinity(0))},
        "versions": {n: version(n) for n in ("pyarrow", "duckdb", "deltalake", "numpy")},
        "limits.memory": arguments.memory,
        "peak_of_this_process_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "measured": {kind: [asdict(m) for m in rows] for kind, rows in found.items()},
        "drawn": drawn,
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--memory", default="1GB", help="limits.memory of the lakes")
    parser.add_argument(
        "--folder", type=Path, help="where the lakes are made; default: the system's"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--stage", choices=STAGES, help="what a process of its own is told to do")
    return parser.parse_args()


if __name__ == "__main__":
    main()
