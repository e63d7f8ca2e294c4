"""SIGKILL while one version of a space takes another's place: readers see either, whole."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from data.catalog import space_versions
from data.maintenance.vacuuming import Retention
from tasks.stages.maintaining import vacuum_lake
from tests.faults.forks import Attempt, Forks
from tests.faults.lakes import (
    ROOT,
    change_model,
    check_snapshot,
    check_tables_are_sound,
    make_project,
    orphans,
    state_of,
)
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from pathlib import Path

    from data.lake import Lake


def current_dim(lake: Lake) -> int:
    (current,) = (v for v in space_versions(lake, None, lake.snapshot()) if v.is_current)
    return current.id.dim


def test_a_promotion_that_is_killed_anywhere_ends_as_if_nothing_had_been(
    tmp_path: Path, forks: Forks
) -> None:
    project = make_project(tmp_path / "project")
    for dim in (16, 8):
        change_model(project, dim)
        assert forks.run(Attempt(str(project.folder))).codes == (0,)
    change_model(project, 12)  # its promotion replaces 8 and forgets 16
    whole = Project(shutil.copytree(project.folder, tmp_path / "whole"))
    points = forks.run(Attempt(str(whole.folder))).points
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert [point for point in points if f"`{point}`" not in page] == []
    begins = len(points) - 1 - points[::-1].index("undo note written")
    # The first "spaces to commit" is that of the new version, the second that of its promotion.
    ended = forks.run(Attempt(str(project.folder), "spaces to commit", count=2))
    assert ended.was_killed, ended.errors
    for point in dict.fromkeys(
        p for p in points[begins:] if not p.endswith(("written", "to commit"))
    ):
        number = project.lake.snapshot().number
        check_snapshot(project.lake, number)
        assert current_dim(project.lake) == (12 if number == 3 else 8)
        ended = forks.run(Attempt(str(project.folder), point))
        # Once the snapshot stands only the catalog is left to be renewed.
        assert ended.was_killed or project.lake.snapshot().number == 3, (point, ended.errors)
    assert forks.run(Attempt(str(project.folder))).codes == (0,)
    assert state_of(project.lake) == state_of(whole.lake)
    check_tables_are_sound(project.lake)
    for number in project.lake.snapshots():
        check_snapshot(project.lake, number)
    vacuum_lake(project.lake, Retention(keep_runs=1, grace_hours=0))
    assert orphans(project.lake) == []


def test_a_version_whose_filling_is_killed_is_filled_on(tmp_path: Path, forks: Forks) -> None:
    project = make_project(tmp_path / "project")
    assert forks.run(Attempt(str(project.folder))).codes == (0,)
    change_model(project, 8)
    whole = Project(shutil.copytree(project.folder, tmp_path / "whole"))
    points = forks.run(Attempt(str(whole.folder))).points
    for point in dict.fromkeys(p for p in points if p.endswith(" committed")):
        if point in ("runs committed", "catalog committed"):
            continue
        assert forks.run(Attempt(str(project.folder), point)).was_killed, point
        assert project.lake.snapshots() == [1]
        check_snapshot(project.lake, 1)
    ended = forks.run(Attempt(str(project.folder)))
    assert ended.codes == (0,), ended.errors
    assert state_of(project.lake) == state_of(whole.lake)
    check_tables_are_sound(project.lake)
    assert orphans(project.lake) == []
