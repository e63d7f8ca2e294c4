"""What `limits.memory` changes of the results of a space: nothing, or it refuses."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data import space_files
from latentlake.errors import ConfigError
from models.analysis import graph, pairs
from models.indexes import list_search
from tasks.parameters import ALL_REPORTS
from tasks.stages import flagging, needs, neighbours
from tasks.stages.budget import Budget
from tasks.stages.indexing import index_space
from tasks.stages.neighbours import link_neighbours
from tasks.stages.reporting import report_space

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.tasks.conftest import Project

TABLES = ("neighbours", "pairs", "duplicates", "clusters", "cluster_summary", "anomalies")
DERIVE: dict[str, Callable[..., Any]] = {
    "index": index_space,
    "graph": link_neighbours,
    **{
        report: lambda lake, settings, name, run, report=report: report_space(
            lake, settings, name, report, run
        )
        for report in ALL_REPORTS
    },
}


def derived(project: Project, memory: str) -> dict[str, list[dict[str, Any]]]:
    """Derive everything under a limit; return the tables, in the order of their keys."""
    config = project.folder / "latentlake.toml"
    config.write_text(f'{config.read_text()}\n[limits]\nmemory = "{memory}"\n')
    for derive in DERIVE.values():
        derive(project.lake, project.settings, "words", "run")
    return {table: sorted(project.lake.read(table).to_pylist(), key=str) for table in TABLES}


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        for column, value in left.items():
            if isinstance(value, float) or (value and isinstance(value, list)):
                if isinstance(value, list) and isinstance(value[0], str):
                    assert value == right[column], column
                else:
                    np.testing.assert_allclose(value, right[column], rtol=1e-5, atol=1e-6)
            else:
                assert value == right[column], column


def test_neither_the_limit_nor_the_blocks_change_a_result(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = project.read_notes()
    keys = list(notes)
    project.write_notes(notes | {f"copy-{n}": f"{notes[keys[n]]} again" for n in range(0, 60, 4)})
    project.ingest("notes")
    project.embed("words")
    copy = type(project)(shutil.copytree(project.folder, tmp_path / "copy"))
    large = derived(project, "8GB")
    for module in (space_files, neighbours, flagging):
        monkeypatch.setattr(module, "GROUP_ROWS", 7)
    monkeypatch.setattr(space_files, "READ_ROWS", 3)
    monkeypatch.setattr(graph, "QUERY_ROWS", 10)
    monkeypatch.setattr(pairs, "_KEYS_AT_ONCE", 2)
    monkeypatch.setattr(list_search, "_TILE_BYTES", 64)
    small = derived(copy, "256MB")
    for table in TABLES:
        assert_same(large[table], small[table])


@pytest.mark.parametrize("stage", list(DERIVE))
def test_a_stage_that_would_not_fit_is_refused_with_what_would_do(
    project: Project, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    project.ingest("notes")
    project.embed("words")
    for before, derive in DERIVE.items():
        if before == stage:
            break
        derive(project.lake, project.settings, "words", "run")
    versions = project.versions()
    monkeypatch.setattr(needs, "_FIXED", 10**15)
    with pytest.raises(ConfigError, match=rf"^{stage} of space 'words' needs about .*MB\" or more"):
        DERIVE[stage](project.lake, project.settings, "words", "run")
    assert project.versions() == versions
    monkeypatch.setattr(needs, "_FIXED", 0)
    assert DERIVE[stage](project.lake, project.settings, "words", "run").changed


def test_the_limit_that_is_named_does() -> None:
    budget = Budget(300_000_000)
    budget.require("graph of space 'words'", 300_000_000)
    with pytest.raises(ConfigError, match=r'needs about 410 MB.* \(300 MB\): set it to "450MB"'):
        budget.require("graph of space 'words'", 410_000_001)
    Budget(450_000_000).require("graph of space 'words'", 410_000_001)
