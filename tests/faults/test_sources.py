"""Sources that change under a run's hands, and clocks that are set back."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, tzinfo
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from data.catalog import connect, current_spaces
from data.shards import shard_paths
from latentlake.cli.commands.status import RUNS
from latentlake.commit_points import watching
from tasks.stages import runs
from tests.faults.lakes import (
    change_sources,
    check_snapshot,
    make_project,
    orphans,
    run_whole,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.conftest import Uninterrupted
    from tests.tasks.conftest import Project


def once_at(point: str, act: Callable[[], object]) -> Callable[[str], None]:
    waiting = [act]

    def listen(reached: str) -> None:
        if reached == point and waiting:
            waiting.pop()()

    return listen


def items_of(project: Project) -> dict[str, str]:
    rows = project.lake.read("items").to_pylist()
    return {row["uri"]: row["content_id"] for row in rows if not row["deleted"]}


def embedded_of(project: Project) -> list[str]:
    space = current_spaces(project.lake)["words"]
    return [
        content
        for path in shard_paths(project.lake, space.id)
        for content in pq.read_table(path)["content_id"].to_pylist()
    ]


def test_a_file_that_vanishes_after_it_was_listed_is_gone_with_the_next_run(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    del uninterrupted
    project = make_project(tmp_path / "project")
    twin = project.folder / "photos" / "twin.jpg"
    # The note is written after the listing, before the first file is opened.
    with watching(once_at("undo note named", twin.unlink)):
        run_whole(project)
    assert "twin.jpg" not in items_of(project)
    bad = {row["uri"]: row["error"] for row in project.lake.read("quarantine").to_pylist()}
    assert bad["twin.jpg"] == "FileNotFoundError"
    run_whole(project)
    never = make_project(tmp_path / "never")
    (never.folder / "photos" / "twin.jpg").unlink()
    run_whole(never)
    found, expected = state_of(project.lake), state_of(never.lake)
    for name in found.keys() - {"snapshots", "runs"}:
        assert found[name] == expected[name], name


def test_a_file_that_changes_after_it_was_listed_is_read_again(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with watching(once_at("undo note named", lambda: change_sources(project))):
        run_whole(project)
    run_whole(project)
    late = make_project(tmp_path / "late")
    change_sources(late)
    run_whole(late)
    assert items_of(project) == items_of(late)
    assert project.lake.read("quarantine").num_rows == late.lake.read("quarantine").num_rows
    check_snapshot(project.lake, project.lake.snapshots()[-1])


def test_what_changes_between_ingest_and_embed_is_encoded_once_by_the_next_run(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path / "project")
    with watching(once_at("plan named", lambda: change_sources(project))):
        first = run_whole(project)
    assert "changed while they were read" in str(first.receipts)
    run_whole(project)
    embedded = embedded_of(project)
    assert len(embedded) == len(set(embedded))
    with connect(project.lake) as connection:
        lacking = connection.sql(
            "SELECT content_id FROM items WHERE source = 'notes' AND excerpt NOT LIKE '!!!%' "
            "EXCEPT SELECT content_id FROM embeddings_words"
        ).fetchall()
    assert lacking == []
    assert orphans(project.lake) == []


def test_contents_that_were_away_for_a_while_come_back(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")
    notes = project.folder / "notes.jsonl"
    away = project.folder / "away"
    project.ingest("photos")
    project.ingest("notes")

    def swap() -> None:
        notes.rename(away)
        project.write_notes(half)

    def die() -> None:
        raise RuntimeError("killed")

    half = dict(islice(project.read_notes().items(), 40))
    with (
        watching(once_at("plan named", swap)),
        watching(once_at("shards to commit", die)),
        pytest.raises(RuntimeError, match="killed"),
    ):
        project.embed("words")
    away.replace(notes)
    run_whole(project)
    found = state_of(project.lake)
    for name, rows in uninterrupted.built.items():
        assert found[name] == rows, name


def test_a_scan_from_the_future_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    photo = project.folder / "photos" / "twin.jpg"
    stamp = time.time_ns() - 10**12
    os.utime(photo, ns=(stamp, stamp))
    ahead = time.time_ns() + 10**13
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: ahead)
        project.ingest("photos")
    # The clock is right again, and the file is written at what is the same moment as before.
    before = items_of(project)["twin.jpg"]
    content = bytearray(photo.read_bytes())
    content[-3] ^= 1
    photo.write_bytes(content)
    os.utime(photo, ns=(stamp, stamp))
    assert project.ingest("photos").counts["changed"] == 1
    assert items_of(project)["twin.jpg"] != before
    # The scan is now of the present, so the file is settled.
    assert project.ingest("photos").counts["read"] < 7


def test_runs_and_snapshots_are_ordered_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    first = run_whole(project)
    change_sources(project)

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) - timedelta(days=1)

    with monkeypatch.context() as patched:
        patched.setattr(runs, "datetime", Yesterday)
        second = run_whole(project)
    assert second.run_id < first.run_id  # ids do sort by the clock: nothing may rely on it
    assert project.lake.snapshot().run_id == second.run_id
    assert second.seconds > 0
    with connect(project.lake) as connection:
        listed = connection.execute(RUNS, [10]).fetchall()
    assert [row[0] for row in listed] == [second.run_id, first.run_id]
    assert all(row[3] >= 0 for row in listed)
