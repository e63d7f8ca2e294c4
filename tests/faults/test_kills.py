"""SIGKILL at every named commit point and at random moments: run again, and nothing shows."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.forks import Attempt, Forks
from tests.faults.lakes import (
    ROOT,
    change_sources,
    check_snapshot,
    check_tables_are_sound,
    make_project,
    orphans,
    state_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from data.lake import Lake
    from tests.faults.conftest import Uninterrupted

RECOVERY = ("table restored", "stage undone")
"""Points that only a run after a killed one reaches."""


def check(lake: Lake, expected: dict[str, object]) -> None:
    found = state_of(lake)
    assert found.keys() == expected.keys()
    for name, rows in found.items():
        assert rows == expected[name], name
    assert orphans(lake) == []
    check_tables_are_sound(lake)
    for number in lake.snapshots():
        check_snapshot(lake, number)


def kill_at_each(folder: Path, points: list[str], forks: Forks) -> None:
    """Kill one run after another, each at the next point, and let the last one end."""
    for point in points:
        ended = forks.run(Attempt(str(folder), point))
        assert ended.was_killed, (point, ended.errors)
    assert forks.run(Attempt(str(folder))).codes == (0,)


def in_turn(points: tuple[str, ...]) -> list[str]:
    """Return each point once, with those of recovery after the first commit that is undone."""
    once = list(dict.fromkeys(points))
    first = once.index("items committed") + 1
    return [*once[:first], *RECOVERY, *once[first:]]


def test_a_run_killed_at_every_commit_point_in_turn_ends_as_if_nothing_had_been(
    tmp_path: Path, forks: Forks, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")
    kill_at_each(project.folder, in_turn(uninterrupted.first.points), forks)
    check(project.lake, uninterrupted.built)


def test_the_same_over_a_lake_that_stands(
    tmp_path: Path, forks: Forks, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")
    assert forks.run(Attempt(str(project.folder))).codes == (0,)
    change_sources(project)
    commits = [point for point in uninterrupted.second.points if point.endswith(" committed")]
    kill_at_each(project.folder, list(dict.fromkeys(commits)), forks)
    check(project.lake, uninterrupted.changed)


def test_half_a_quarantine_does_not_change_the_plan(
    tmp_path: Path, forks: Forks, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")
    # The first time is that of the ingest, the second that of the space, before its shards.
    assert forks.run(Attempt(str(project.folder), "quarantine committed", count=2)).was_killed
    assert forks.run(Attempt(str(project.folder))).codes == (0,)
    check(project.lake, uninterrupted.built)


@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments_change_nothing(
    tmp_path: Path, forks: Forks, uninterrupted: Uninterrupted, seed: int
) -> None:
    moments = random.Random(seed)
    project = make_project(tmp_path / "project")
    for _ in range(3):
        after_s = moments.uniform(0, uninterrupted.first.seconds)
        forks.run(Attempt(str(project.folder), after_s=after_s))
    assert forks.run(Attempt(str(project.folder))).codes == (0,)
    check(project.lake, uninterrupted.built)


def test_every_commit_point_stands_in_the_documentation(uninterrupted: Uninterrupted) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    reached = {*uninterrupted.first.points, *uninterrupted.second.points, *RECOVERY}
    for point in reached:
        assert f"`{point}`" in page
