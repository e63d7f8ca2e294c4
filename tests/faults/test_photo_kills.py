"""SIGKILL while photos are compared by their pixels, and while others come: nothing shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.faults.forks import Attempt
from tests.faults.lakes import ROOT
from tests.faults.photo_lakes import add_batch, make_album
from tests.faults.test_graph_kills import POINTS as GRAPH_POINTS
from tests.faults.test_kills import check, in_turn, kill_at_each

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Uninterrupted
    from tests.faults.forks import Forks

POINTS = (
    *("verified_pairs to commit", "verified_pairs committed"),
    *("pixels to commit", "pixels committed", "duplicates committed"),
)
S3_POINTS = ("tables fenced", "file written", "file named")
"""Only a lake on S3 reaches them: `python -m tests.faults.storm --store s3` kills there."""


def test_photos_survive_every_kill(
    tmp_path: Path, forks: Forks, uninterrupted_album: Uninterrupted
) -> None:
    project = make_album(tmp_path / "project")
    kill_at_each(project.folder, ["shard named", *POINTS], forks)
    check(project.lake, uninterrupted_album.built)
    add_batch(project)
    kill_at_each(project.folder, ["shards committed", *POINTS], forks)
    check(project.lake, uninterrupted_album.changed)
    kinds = [kind for _, _, kind in project.decisions()]
    assert sorted(kinds) == ["perceptual", "pixels", "pixels"]


def test_features_that_are_being_written_down_are_computed_again(
    tmp_path: Path, forks: Forks, uninterrupted_album: Uninterrupted
) -> None:
    project = make_album(tmp_path / "project")
    ended = forks.run(Attempt(str(project.folder), file_to_see="features"))
    assert ended.was_killed, ended.errors
    assert list((project.folder / "lake" / "work").rglob("features"))
    assert forks.run(Attempt(str(project.folder))).codes == (0,)
    check(project.lake, uninterrupted_album.built)


def test_some_test_kills_at_every_commit_point_that_is_documented(
    uninterrupted: Uninterrupted,
) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page[page.index("| killed after |") :].partition("\n\n")[0]
    firsts = "\n".join(line.split("|")[1] for line in table.splitlines())
    documented = set(re.findall("`([^`]+)`", firsts))
    assert documented == {*in_turn(uninterrupted.first.points), *POINTS, *GRAPH_POINTS, *S3_POINTS}
