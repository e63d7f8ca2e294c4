"""A small project of real samples, and the stages called as plain functions."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from data.catalog import write_catalog
from data.lake import Lake
from latentlake.names import vocabulary_name
from latentlake.settings import Settings, load_settings
from tasks.parameters import ALL_REPORTS
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.indexing import index_space
from tasks.stages.ingesting import ingest_source
from tasks.stages.neighbours import link_neighbours
from tasks.stages.planning import EmbedPlan, plan_embedding
from tasks.stages.promoting import promote_ready
from tasks.stages.reporting import report_space
from tasks.stages.runs import RunSummary, begin_run, finish_run
from tasks.stages.versions import embedded_spaces, prepare_versions, versions_at_work
from tasks.stages.vocabulary import update_vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from data.catalog import SpaceRow
    from tasks.stages.receipts import StageReceipt

CONFIG = """
[lake]
root = "lake"
[[sources]]
name = "photos"
kind = "images"
uri = "photos"
[[sources]]
name = "notes"
kind = "text"
uri = "notes.jsonl"
text = "text"
key = "id"
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["notes"]
neighbours = 5
options = { dim = 16, epochs = 5 }
[run]
threads = 2
shard_rows = 32
"""


@dataclass
class Project:
    """A folder with a configuration, a few photos and texts, and its lake."""

    folder: Path

    @property
    def settings(self) -> Settings:
        return load_settings(self.folder / "latentlake.toml")

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.root)

    def ingest(self, source: str, run_id: str = "run") -> StageReceipt:
        return ingest_source(self.lake, self.settings, source, run_id)

    def embed(self, space: str, run_id: str = "run") -> tuple[EmbedPlan, StageReceipt]:
        lake, settings = self.lake, self.settings
        row = prepare_versions(lake, settings, space, run_id)[0]
        return self.fill(row, run_id)

    def fill(self, row: SpaceRow, run_id: str) -> tuple[EmbedPlan, StageReceipt]:
        lake, settings = self.lake, self.settings
        plan = plan_embedding(lake, settings, row)
        receipts = [r for group in plan.groups for r in encode_group(lake, settings, row, group)]
        return plan, commit_embedding(lake, row, plan, receipts, run_id)

    def words(self, run_id: str = "run") -> list[StageReceipt]:
        """Make the spaces of words, and their indexes."""
        lake, settings = self.lake, self.settings
        versions = [v for s in settings.spaces for v in versions_at_work(lake, settings, s.name)]
        made = [update_vocabulary(lake, settings, version, run_id) for version in versions]
        chosen = tuple(vocabulary_name(space.name) for space in settings.spaces)
        indexed = [
            index_space(lake, settings, name, run_id)
            for name in embedded_spaces(lake, settings, chosen)
        ]
        return [receipt for receipt in (*made, *indexed) if receipt and receipt.changed]

    def run(self) -> RunSummary:
        """All stages, in the pipeline's order, without Prefect."""
        lake, settings = self.lake, self.settings
        run = begin_run(lake, "pipeline")
        receipts = [self.ingest(source.name, run.run_id) for source in settings.sources]
        for space in settings.spaces:
            versions = prepare_versions(lake, settings, space.name, run.run_id)
            receipts += [self.fill(version, run.run_id)[1] for version in versions]
        receipts += self.words(run.run_id)
        for name in embedded_spaces(lake, settings, ()):
            receipts.append(index_space(lake, settings, name, run.run_id))
            receipts.append(link_neighbours(lake, settings, name, run.run_id))
            receipts += [
                report_space(lake, settings, name, report, run.run_id) for report in ALL_REPORTS
            ]
        receipts += promote_ready(lake, settings, run.run_id)
        return finish_run(lake, settings, run, receipts)

    def write_notes(self, notes: dict[str, str]) -> None:
        lines = [
            json.dumps({"id": key, "text": text, "length": len(text)})
            for key, text in notes.items()
        ]
        (self.folder / "notes.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        age(self.folder / "notes.jsonl")

    def read_notes(self) -> dict[str, str]:
        lines = (self.folder / "notes.jsonl").read_text("utf-8").splitlines()
        return {row["id"]: row["text"] for row in map(json.loads, lines)}

    def versions(self) -> dict[str, int]:
        """The version of every table as it is committed now."""
        return self.lake.versions()


def age(path: Path) -> None:
    """Make a file older than the span in which its time stamp is in doubt."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**10))


@pytest.fixture
def project(tmp_path: Path, samples: Path) -> Project:
    return make_project(tmp_path / "project", samples)


def copy_of(folder: Path, place: Path) -> Project:
    """Copy a project that was built once, with a catalogue that knows where it is now."""
    project = Project(shutil.copytree(folder, place))
    write_catalog(project.lake, project.lake.snapshot())
    return project


def make_project(folder: Path, samples: Path) -> Project:
    made = Project(folder)
    (made.folder / "photos").mkdir(parents=True)
    (made.folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    for path in sorted((samples / "photos" / "hat").iterdir())[:6]:
        shutil.copy2(path, made.folder / "photos" / path.name)
    notes: dict[str, str] = {}
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in islice(lines, 80):
            row = json.loads(line)
            notes[row["arxiv_id"]] = row["abstract"]
    made.write_notes(notes)
    return made
