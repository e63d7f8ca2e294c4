"""The stages that `bench_scale` measures, each in a process of its own."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.lake import Lake
from data.shards import Rejected, ShardReceipt
from latentlake.settings import load_settings
from tasks.parameters import ALL_REPORTS
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.indexing import index_space
from tasks.stages.ingesting import ingest_source
from tasks.stages.neighbours import link_neighbours
from tasks.stages.planning import plan_embedding
from tasks.stages.reporting import report_space
from tasks.stages.runs import begin_run, finish_run
from tasks.stages.spaces import find_space, make_space

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks.stages.receipts import StageReceipt

RESULTS_OF = ("index", "graph", *ALL_REPORTS)


def run_stage(stage: str, folder: Path) -> dict[str, float]:
    """Run one stage and return its figures."""
    _warm_up(stage)
    baseline = _status("VmRSS")
    cpu, began = time.process_time(), time.monotonic()
    _WORK[stage](folder)
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "baseline_mb": baseline,
        "peak_mb": _status("VmHWM"),
    }


def _warm_up(stage: str) -> None:
    """Import what every run of the stages imports, whatever the size."""
    from models.encoders import word2vec  # noqa: F401

    if stage in RESULTS_OF:
        from sklearn.feature_extraction import text  # noqa: F401

        from models.indexes.faiss_library import library

        library()


def _ingest(folder: Path) -> StageReceipt:
    settings = load_settings(folder / "latentlake.toml")
    return ingest_source(Lake(settings.root), settings, "texts", "run")


def _train(folder: Path) -> None:
    settings = load_settings(folder / "latentlake.toml")
    make_space(Lake(settings.root), settings, "words", "run")


def _embed(folder: Path) -> None:
    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    space = find_space(lake, settings, "words")
    assert space is not None  # noqa: S101
    plan = plan_embedding(lake, settings, space)
    receipts = [r for group in plan.groups for r in encode_group(lake, settings, space, group)]
    found = {"pending": plan.pending, "receipts": [asdict(receipt) for receipt in receipts]}
    (folder / "embedded.json").write_text(json.dumps(found))


def _commit(folder: Path) -> None:
    from tasks.stages.planning import EmbedPlan

    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    space = find_space(lake, settings, "words")
    assert space is not None  # noqa: S101
    found = json.loads((folder / "embedded.json").read_text())
    receipts = [
        ShardReceipt(**row | {"rejected": tuple(Rejected(**bad) for bad in row["rejected"])})
        for row in found["receipts"]
    ]
    run = begin_run(lake, "embed")
    receipt = commit_embedding(lake, space, EmbedPlan((), found["pending"]), receipts, run.run_id)
    finish_run(lake, settings, run, [receipt])


def _whole(folder: Path) -> None:
    """Run ingest, embed and commit as a run does."""
    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    run = begin_run(lake, "embed")
    receipts = [ingest_source(lake, settings, "texts", run.run_id)]
    for configured in settings.spaces:
        space = find_space(lake, settings, configured.name)
        assert space is not None  # noqa: S101
        plan = plan_embedding(lake, settings, space)
        shards = [r for group in plan.groups for r in encode_group(lake, settings, space, group)]
        receipts.append(commit_embedding(lake, space, plan, shards, run.run_id))
    finish_run(lake, settings, run, receipts)


def _derived(stage: str) -> Callable[[Path], StageReceipt]:
    """Return what derives one result of the space from its vectors."""

    def derive(folder: Path) -> StageReceipt:
        settings = load_settings(folder / "latentlake.toml")
        lake = Lake(settings.root)
        if stage == "index":
            return index_space(lake, settings, "words", "run")
        if stage == "graph":
            return link_neighbours(lake, settings, "words", "run")
        assert stage in ALL_REPORTS  # noqa: S101
        return report_space(lake, settings, "words", stage, "run")

    return derive


_WORK: dict[str, Callable[[Path], Any]] = {
    "ingest": _ingest,
    "train": _train,
    "embed": _embed,
    "commit": _commit,
    **{stage: _derived(stage) for stage in RESULTS_OF},
    "no news": _whole,
    "news": _whole,
}


def _status(field: str) -> float:
    """Return a figure of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
