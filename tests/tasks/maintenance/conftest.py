"""A real small project that was run twice, for what keeps a lake in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from data.catalog import connect
from data.shards import shard_paths
from tasks.stages.indexing import INDEX_FILE
from tasks.stages.spaces import known_space
from tasks.stages.verifying import verify_lake
from tests.tasks.conftest import Project, copy_of, make_project

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Snapshot


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """Two runs: in the second a note is new, one is changed and one is gone."""
    made = make_project(tmp_path_factory.mktemp("maintaining") / "project", samples)
    made.run()
    notes = made.read_notes()
    first, second, *_ = notes
    notes[first] += " Indeed, and more so than before."
    del notes[second]
    made.write_notes(notes | {"new": "Galaxies merge and their dark matter halos merge with them."})
    made.run()
    return made.folder


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Project:
    return copy_of(built_once, tmp_path / "project")


def words(project: Project) -> SpaceRow:
    return known_space(project.lake, "words")


def shards(project: Project, snapshot: Snapshot | None = None) -> list[Path]:
    return [Path(path) for path in shard_paths(project.lake, words(project).id, snapshot)]


def index_file(project: Project) -> Path:
    return max((project.folder / "lake/indexes/words").rglob(INDEX_FILE), key=str)


def problems(project: Project) -> str:
    return "\n".join(f"{f.subject}: {f.problem}. {f.remedy}" for f in verify_lake(project.lake))


def dump(project: Project, snapshot: Snapshot) -> dict[str, list[str]]:
    """Everything a reader of a snapshot sees, but for the history of runs."""
    views = ["items", "quarantine", "neighbours", "duplicates", "clusters", "cluster_summary"]
    views += ["pairs", "paired", "centroids", "detector_fits"]
    with connect(project.lake, snapshot) as connection:
        return {
            view: sorted(map(str, connection.execute(f"FROM {view}").fetchall()))
            for view in [*views, "anomalies", "indexes", "embeddings_words"]
        }
