"""Several writers on one lake, and readers beside them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from data.lake import Lake
from data.locking import LOCK_NAME, sole_writer
from latentlake.commit_points import watching
from latentlake.errors import LakeBusyError, LakeNotFoundError
from latentlake.progress import ProgressEvent, listening
from tests.faults.forks import Attempt, Forks
from tests.faults.lakes import (
    change_sources,
    check_snapshot,
    make_project,
    orphans,
    run_whole,
    state_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Uninterrupted


class Reader(threading.Thread):
    """Reads the last snapshot whole, again and again, until it is told to stop."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root, self.seen = root, set[int]()
        self.error: BaseException | None = None
        self.is_done = threading.Event()

    def run(self) -> None:
        while not self.is_done.is_set():
            try:
                number = Lake(self.root).snapshot().number
                check_snapshot(Lake(self.root), number)
                self.seen.add(number)
            except LakeNotFoundError:
                continue
            except BaseException as error:  # noqa: BLE001  told by the test
                self.error = error
                return


def test_eight_runs_at_once_leave_what_one_leaves(
    tmp_path: Path, forks: Forks, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")
    reader = Reader(str(project.lake.root))
    reader.start()
    try:
        ended = forks.run(Attempt(str(project.folder), copies=8))
        assert ended.codes == (0,) * 8, ended.errors
        assert state_of(project.lake) == uninterrupted.built
        change_sources(project)
        ended = forks.run(Attempt(str(project.folder), copies=8))
        assert ended.codes == (0,) * 8, ended.errors
    finally:
        reader.is_done.set()
        reader.join()
    assert reader.error is None
    assert reader.seen <= {1, 2}
    assert reader.seen
    assert state_of(project.lake) == uninterrupted.changed
    assert orphans(project.lake) == []


def test_readers_see_whole_snapshots_at_every_commit_point(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    run_whole(project)
    change_sources(project)
    seen: dict[str, int] = {}

    def read(point: str) -> None:
        number = project.lake.snapshot().number
        if point not in seen and point.endswith((" committed", "snapshot named")):
            check_snapshot(project.lake, number)
        seen[point] = number

    with watching(read):
        run_whole(project)
    assert seen["snapshot written"] == 1
    assert seen["snapshot named"] == 2
    assert seen["anomalies committed"] == 1


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with (
        sole_writer(tmp_path, "ingest"),
        pytest.raises(LakeBusyError, match=r"'latentlake ingest' \(process \d+ on .+\)") as refusal,
        sole_writer(tmp_path, "run", wait=False),
    ):
        pass
    assert refusal.value.root == str(tmp_path)
    with sole_writer(tmp_path, "run", wait=False):
        pass


def test_a_writer_waits_for_its_turn_and_says_for_whom(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def note(event: ProgressEvent) -> None:
        order.append(event.stage)
        waits.set()

    def second() -> None:
        with sole_writer(tmp_path, "embed"):
            order.append("second")

    thread = threading.Thread(target=second)
    with listening(note), sole_writer(tmp_path, "ingest"):
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order[0].startswith("wait for 'latentlake ingest'")
    assert order.index("first") < order.index("second")


def test_an_owner_that_was_killed_keeps_nobody_waiting(tmp_path: Path, forks: Forks) -> None:
    project = make_project(tmp_path / "project")
    assert forks.run(Attempt(str(project.folder), "items committed")).was_killed
    assert (project.lake.root / LOCK_NAME).read_text("utf-8")
    with sole_writer(project.lake.root, "run", wait=False):
        pass
