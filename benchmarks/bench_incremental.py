"""What does a batch cost against a full build? One run prints both and their ratio.

Builds a lake of short synthetic texts in files of a thousand, adds 1 % in new files, runs again
without news, and removes another 1 %. All stages are called as functions, so the fixed start of a
process and of Prefect is left out. Then everything is derived anew from the same vectors, and the
results that were brought up to date are compared with those.

    .venv/bin/python benchmarks/bench_incremental.py --rows 100000

Exit status 1 if the batch costs more than 5 % of the full build, or a run without news 3 s or more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from incremental_lake import Meter, Project, machine_facts, make_project, write_texts

from data.maintenance.findings import ForgetBuilds
from data.maintenance.mending import mend
from models.analysis.graph import GraphOptions, graph_recall
from models.indexes.results import Neighbours
from tasks.stages.spaces import known_space, space_vectors
from tasks.stages.stored_graph import stored_graph

if TYPE_CHECKING:
    import pyarrow as pa

RESULTS = Path(__file__).parent / "results" / "incremental.json"
FILE_ROWS = 1000
MOST_SHARE, MOST_SECONDS = 0.05, 3.0


def main() -> int:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="texts in the full build")
    parser.add_argument("--share", type=float, default=0.01, help="the batch, as a share of them")
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        runs = measure(folder, arguments.rows, arguments.share)
        agreement = compare(Project(folder))
    share = runs["batch"].total / runs["full"].total
    show(runs)
    print(f"\nbatch / full = {share:.3f} (bar {MOST_SHARE})")
    derived = without_training(runs["batch"].seconds) / without_training(runs["full"].seconds)
    print(f"the same without the encoder's training = {derived:.3f}")
    worked = sum(runs["batch"].cpu_seconds.values()) / sum(runs["full"].cpu_seconds.values())
    apart = without_training(runs["batch"].cpu_seconds) / without_training(runs["full"].cpu_seconds)
    print(f"of the processors' seconds: {worked:.3f}, without training {apart:.3f}")
    print(f"no news      = {runs['no news'].total:.2f} s (bar {MOST_SECONDS})")
    print(f"against results derived anew: {agreement}")
    figures = {
        name: {"seconds": meter.seconds, "cpu_seconds": meter.cpu_seconds}
        for name, meter in runs.items()
    }
    content = {"rows": arguments.rows, "batch_share": arguments.share, "ratio": share}
    content |= {"ratio_without_training": derived, "cpu_ratio": worked}
    content |= {"cpu_ratio_without_training": apart, "agreement": agreement}
    arguments.out.parent.mkdir(exist_ok=True)
    text = json.dumps(content | {"runs": figures, "machine": machine_facts()}, indent=1)
    arguments.out.write_text(text + "\n", "utf-8")
    return int(share > MOST_SHARE or runs["no news"].total >= MOST_SECONDS)


def without_training(seconds: dict[str, float]) -> float:
    """Return the seconds of all stages but the one that a new space needs once."""
    return sum(seconds.values()) - seconds["train"]


def measure(folder: Path, rows: int, share: float) -> dict[str, Meter]:
    """Run the pipeline over the four states of the source.

    The files look a week old: those of the last two seconds would be read again, to be sure.
    """
    project = make_project(folder)
    last_week = time.time() - 7 * 86_400
    texts = folder / "texts"
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        write_texts(texts / f"{number:05d}.txt", min(FILE_ROWS, rows - start), seed=number)
        os.utime(texts / f"{number:05d}.txt", (last_week, last_week))
    runs = {"full": project.run()}
    batch = max(1, round(rows * share))
    for number, start in enumerate(range(0, batch, FILE_ROWS)):
        write_texts(texts / f"new-{number}.txt", min(FILE_ROWS, batch - start), seed=10**6 + number)
        os.utime(texts / f"new-{number}.txt", (last_week, last_week))
    runs["batch"] = project.run()
    runs["no news"] = project.run()
    for path in sorted(texts.glob("0*.txt"))[: max(1, batch // FILE_ROWS)]:
        path.unlink()
    runs["deletion"] = project.run()
    return runs


def compare(project: Project) -> dict[str, float]:
    """Return what share of the results a full derivation from the same vectors agrees with.

    Recalls are those of the neighbours: each list's overlap with that of the other graph.
    """
    lake, name = project.lake, "words"
    columns = {
        "neighbours": ("content_id", "neighbours"),
        "pairs": ("first", "second"),
        "duplicates": ("item_id",),
        "anomalies": ("content_id", "percentile"),
    }
    kept = {table: lake.read(table, columns=list(names)) for table, names in columns.items()}
    measured = {"graph_recall": _measured_recall(project)}
    mend(lake, [ForgetBuilds(name)], "anew")
    project.run()
    anew = {table: lake.read(table, columns=list(names)) for table, names in columns.items()}
    measured["graph_recall_anew"] = _measured_recall(project)
    ours, theirs = (_by_content(each["neighbours"], "neighbours") for each in (kept, anew))
    shared = [len({*ours[one]} & {*theirs[one]}) / max(1, len(theirs[one])) for one in theirs]
    measured["neighbours"] = float(np.mean(shared))
    for table in ("pairs", "duplicates"):
        one, other = (
            {tuple(sorted(row.values())) for row in each[table].to_pylist()}
            for each in (kept, anew)
        )
        measured[f"{table}_found"] = len(one & other) / max(1, len(other))
        measured[f"{table}_surplus"] = len(one - other) / max(1, len(other))
    ours, theirs = (_by_content(each["anomalies"], "percentile") for each in (kept, anew))
    apart = [abs(ours[one] - theirs[one]) for one in theirs]
    measured["percentile_points_apart"] = float(np.mean(apart))
    return {key: round(value, 5) for key, value in measured.items()}


def _by_content(rows: pa.Table, column: str) -> dict[str, Any]:
    return dict(zip(rows["content_id"].to_pylist(), rows[column].to_pylist(), strict=True))


def _measured_recall(project: Project) -> float:
    """Measure the stored graph on 1,000 contents by brute force."""
    space = known_space(project.lake, "words")
    vectors = space_vectors(project.lake, project.settings, space)
    graph = stored_graph(project.lake, space, vectors)
    lists = Neighbours(graph.rows, graph.similarities)
    return graph_recall(vectors, lists, graph.metric, GraphOptions(seed=1)).mean


def show(runs: dict[str, Meter]) -> None:
    """Print seconds a stage and a run."""
    print(f"{'seconds':<12}" + "".join(f"{name:>12}" for name in runs))
    for stage in runs["full"].seconds:
        print(f"{stage:<12}" + "".join(f"{m.seconds[stage]:>12.3f}" for m in runs.values()))
    print(f"{'total':<12}" + "".join(f"{meter.total:>12.3f}" for meter in runs.values()))
    worked = (sum(meter.cpu_seconds.values()) for meter in runs.values())
    print(f"{'processors':<12}" + "".join(f"{seconds:>12.3f}" for seconds in worked))


if __name__ == "__main__":
    sys.exit(main())
