"""One small lake for all tests of the command line, made by the stages as plain functions."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from latentlake.cli.main import cli
from tests.tasks.conftest import CONFIG, Project

if TYPE_CHECKING:
    from pathlib import Path

Invoke = Callable[..., Result]

SPACES = """
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
neighbours = 3
"""


def make_project(folder: Path, samples: Path) -> Project:
    """Eight photos, one of them a copy and one cut short; 81 notes, one of them a copy."""
    made = Project(folder)
    (made.folder / "photos").mkdir(parents=True)
    (made.folder / "latentlake.toml").write_text(CONFIG + SPACES, "utf-8")
    hats = sorted((samples / "photos" / "hat").iterdir())[:6]
    for path in hats:
        shutil.copy2(path, made.folder / "photos" / path.name)
    shutil.copy2(hats[0], made.folder / "photos" / "copy.jpg")
    (made.folder / "photos" / "broken.jpg").write_bytes(hats[0].read_bytes()[:500])
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 80)]
    notes = {row["arxiv_id"]: row["abstract"] for row in rows}
    notes["copy"] = next(iter(notes.values()))
    made.write_notes(notes)
    return made


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Project:
    """Return a project whose lake is complete; read only."""
    made = make_project(tmp_path_factory.mktemp("world") / "project", samples)
    assert made.run().errors == ()
    return made


@pytest.fixture
def invoke(world: Project) -> Invoke:
    """Return `invoke(command, *arguments)`, which runs a command in the finished project."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        command, *rest = arguments
        config = str(world.folder / "latentlake.toml")
        return CliRunner().invoke(
            cli, [command, *rest, "--config", config], input=stdin, catch_exceptions=False
        )

    return run
