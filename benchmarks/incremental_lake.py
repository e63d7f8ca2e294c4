"""What `bench_incremental` measures: synthetic texts, all stages as functions, figures of a stage.

Texts are drawn from a mixture of topics over a Zipf vocabulary, so that neighbours, clusters and
duplicates exist and word2vec has something to learn; a few in a hundred repeat an earlier text with
one word changed. Everything is made from a seed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.lake import Lake
from latentlake.settings import Settings, load_settings
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
    from collections.abc import Iterator

    from tasks.stages.receipts import StageReceipt

CONFIG = """
[lake]
root = "lake"
[[sources]]
name = "texts"
kind = "text"
uri = "texts"
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["texts"]
"""
VOCABULARY, TOPICS, WORDS = 20_000, 300, 24
NEAR_COPIES, ON_TOPIC = 0.02, 0.6


def write_texts(path: Path, count: int, seed: int) -> None:
    """Write one short text a line."""
    topic_words = np.random.default_rng(0).integers(0, VOCABULARY, (TOPICS, 60))
    random = np.random.default_rng(seed)
    common = np.minimum(random.zipf(1.3, (count, WORDS)), VOCABULARY) - 1
    topics = topic_words[random.integers(0, TOPICS, count)]
    told = np.take_along_axis(topics, random.integers(0, 60, (count, WORDS)), axis=1)
    words = np.where(random.random((count, WORDS)) < ON_TOPIC, told, common)
    copies = np.flatnonzero(random.random(count) < NEAR_COPIES)
    words[copies] = words[random.integers(0, count, copies.size)]
    words[copies, 0] = random.integers(0, VOCABULARY, copies.size)
    names = np.array([_word(number) for number in range(VOCABULARY)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(" ".join(line) + "\n" for line in names[words].tolist())


def _word(number: int) -> str:
    letters = "bdfgklmnprstvz"
    vowels = "aeiou"
    word = ""
    for _ in range(3):
        number, consonant = divmod(number, len(letters))
        number, vowel = divmod(number, len(vowels))
        word += letters[consonant] + vowels[vowel]
    return word


@dataclass
class Meter:
    """Seconds and peak memory of stages, in the order they ran.

    Seconds of the processors tell more than those of the clock where others use the machine, too.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block; memory is sampled 200 times a second."""
        done = threading.Event()
        peak = [_resident_bytes()]

        def watch() -> None:
            while not done.wait(0.005):
                peak[0] = max(peak[0], _resident_bytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        began, worked = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - began
            self.cpu_seconds[name] = time.process_time() - worked
            done.set()
            watcher.join()
            self.peak_bytes[name] = max(peak[0], _resident_bytes())


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Project:
    """A folder with a configuration, and its lake."""

    folder: Path

    @property
    def settings(self) -> Settings:
        """The configuration, read anew."""
        return load_settings(self.folder / "latentlake.toml")

    @property
    def lake(self) -> Lake:
        """The lake."""
        return Lake(self.settings.root)

    def run(self) -> Meter:
        """Run the stages in the pipeline's order, without Prefect, and measure each."""
        lake, settings, meter = self.lake, self.settings, Meter()
        run = begin_run(lake, "pipeline")
        receipts: list[StageReceipt] = []
        for source in settings.sources:
            with meter.stage("ingest"):
                receipts.append(ingest_source(lake, settings, source.name, run.run_id))
        for space in settings.spaces:
            receipts += self._embed(lake, space.name, run.run_id, meter)
            receipts += self._derive(lake, space.name, run.run_id, meter)
        with meter.stage("finish"):
            finish_run(lake, settings, run, receipts)
        return meter

    def _embed(self, lake: Lake, name: str, run_id: str, meter: Meter) -> list[StageReceipt]:
        settings = self.settings
        with meter.stage("train"):
            space = find_space(lake, settings, name) or make_space(lake, settings, name, run_id)
        with meter.stage("embed"):
            plan = plan_embedding(lake, settings, space)
            shards = [
                shard
                for group in plan.groups
                for shard in encode_group(lake, settings, space, group)
            ]
        with meter.stage("commit"):
            return [commit_embedding(lake, space, plan, shards, run_id)]

    def _derive(self, lake: Lake, name: str, run_id: str, meter: Meter) -> list[StageReceipt]:
        settings, receipts = self.settings, []
        with meter.stage("index"):
            receipts.append(index_space(lake, settings, name, run_id))
        with meter.stage("graph"):
            receipts.append(link_neighbours(lake, settings, name, run_id))
        for report in ALL_REPORTS:
            with meter.stage(report):
                receipts.append(report_space(lake, settings, name, report, run_id))
        return receipts


def make_project(folder: Path, config: str = CONFIG) -> Project:
    """Write the configuration of a new project."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latentlake.toml").write_text(config, "utf-8")
    return Project(folder)


def machine_facts() -> dict[str, Any]:
    """Say where figures were measured: cores, processor, libraries, commit."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    git = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    libraries = ("faiss-cpu", "pyarrow", "deltalake", "duckdb", "numpy", "gensim")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
        "commit": done.stdout.strip(),
    }
