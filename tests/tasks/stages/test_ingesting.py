"""Ingestion tells new, changed, moved, returned, vanished and bad apart, and no news from news."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest

from data.content import content_id
from latentlake.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tasks.conftest import Project


def live(project: Project, source: str = "photos") -> dict[str, dict[str, object]]:
    where = (pc.field("source") == source) & ~pc.field("deleted")
    return {row["uri"]: row for row in project.lake.read("items", where=where).to_pylist()}


def some(counts: dict[str, int]) -> dict[str, int]:
    names = ("new", "changed", "moved", "returned", "vanished", "bad")
    return {name: counts[name] for name in names if counts[name]}


def age(folder: Path) -> None:
    """Make files older than the span in which time stamps are in doubt."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**10))


def stamp(path: Path, seconds: float = 0) -> None:
    """Let a file have been written so many seconds from now."""
    moment = time.time_ns() + int(seconds * 10**9)
    os.utime(path, ns=(moment, moment))


def photos(project: Project) -> list[Path]:
    return sorted((project.folder / "photos").iterdir())


def test_a_first_scan_takes_every_file(project: Project) -> None:
    receipt = project.ingest("photos", "r1")
    assert some(receipt.counts) == {"new": 6}
    rows = live(project)
    assert set(rows) == {path.name for path in photos(project)}
    for path in photos(project):
        row = rows[path.name]
        assert row["content_id"] == content_id(path.read_bytes())
        assert row["size_bytes"] == path.stat().st_size
        assert row["first_run"] == row["last_run"] == "r1"


@pytest.mark.parametrize("seconds", [-10, 60], ids=["settled", "just written"])
def test_a_scan_without_news_commits_nothing(project: Project, seconds: int) -> None:
    (project.folder / "photos" / "broken.jpg").write_bytes(b"no image")
    for path in project.folder.rglob("*.j*"):
        stamp(path, seconds)
    for source in ("photos", "notes"):
        project.ingest(source, "r1")
    before = project.versions()
    for source in ("photos", "notes"):
        receipt = project.ingest(source, "r2")
        assert not receipt.changed
        assert receipt.counts["quarantined"] == 0
    assert project.versions() == before


def test_settled_files_are_not_opened(project: Project) -> None:
    age(project.folder)
    project.ingest("photos", "r1")
    assert project.ingest("photos", "r2").counts["read"] == 0


def test_a_change_of_the_same_size_within_the_clock_s_grain_is_seen(project: Project) -> None:
    notes = project.folder / "notes.jsonl"
    stamp(notes)
    project.ingest("notes", "r1")
    before = notes.stat()
    text = notes.read_text("utf-8")
    notes.write_text(text.replace(" the ", " teh ", 1), "utf-8")
    os.utime(notes, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert notes.stat().st_size == before.st_size
    assert some(project.ingest("notes", "r2").counts) == {"changed": 1}


def test_a_file_in_doubt_is_trusted_once_a_later_scan_has_read_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp(project.folder / "notes.jsonl")
    assert project.ingest("notes", "r1").counts["read"] == 1
    now = time.time_ns()
    read, changed = [], []
    for seconds in (5, 10, 15):
        before = project.versions()
        monkeypatch.setattr(time, "time_ns", lambda later=now + seconds * 10**9: later)
        receipt = project.ingest("notes", f"r{seconds}")
        read.append(receipt.counts["read"])
        changed.append({name for name, at in project.versions().items() if at != before[name]})
        assert receipt.changed == bool(changed[-1])
        assert some(receipt.counts) == {}
    assert read == [1, 0, 0]
    assert changed == [{"tables/files"}, set(), set()]


def test_a_change_after_a_confirmed_scan_is_seen(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = project.folder / "notes.jsonl"
    stamp(notes)
    project.ingest("notes", "r1")
    later = time.time_ns() + 5 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    project.ingest("notes", "r2")
    text = notes.read_text("utf-8")
    notes.write_text(text.replace(" the ", " teh ", 1), "utf-8")
    os.utime(notes, ns=(later, later))
    assert some(project.ingest("notes", "r3").counts) == {"changed": 1}


def test_two_copies_that_move_are_two_moves(project: Project) -> None:
    age(project.folder)
    folder = project.folder / "photos"
    shutil.copy2(photos(project)[0], folder / "copy.jpg")
    project.ingest("photos", "r1")
    (folder / "deep").mkdir()
    first = photos(project)[0] if photos(project)[0].is_file() else photos(project)[1]
    for name in (first.name, "copy.jpg"):
        (folder / name).rename(folder / "deep" / name)
    assert some(project.ingest("photos", "r2").counts) == {"moved": 2}
    origins = {row["previous_uri"] for row in live(project).values()}
    assert origins == {None, first.name, "copy.jpg"}


def test_what_could_not_be_listed_leaves_the_quarantine_once_it_can(project: Project) -> None:
    os.mkfifo(project.folder / "photos" / "pipe.jpg")
    age(project.folder)
    assert project.ingest("photos", "r1").counts["bad"] == 1
    (project.folder / "photos" / "pipe.jpg").unlink()
    receipt = project.ingest("photos", "r2")
    assert receipt.changed
    assert project.lake.read("quarantine").num_rows == 0
    assert not project.ingest("photos", "r3").changed


def test_changed_moved_vanished_and_returned_are_told_apart(project: Project) -> None:
    age(project.folder)
    project.ingest("photos", "r1")
    one, two, three, four, *_ = photos(project)
    one.write_bytes(four.read_bytes() + b"\0")
    (project.folder / "photos" / "deep").mkdir()
    two.rename(two.parent / "deep" / "two.jpg")
    kept = three.read_bytes()
    three.unlink()
    receipt = project.ingest("photos", "r2")
    assert some(receipt.counts) == {"changed": 1, "moved": 1, "vanished": 1}
    rows = live(project)
    assert rows["deep/two.jpg"]["previous_uri"] == two.name
    assert rows[one.name]["first_run"] == "r1"
    assert rows[one.name]["last_run"] == "r2"
    assert three.name not in rows
    assert len(rows) == 5
    three.write_bytes(kept)
    assert some(project.ingest("photos", "r3").counts) == {"returned": 1}
    assert live(project)[three.name]["first_run"] == "r1"


def test_a_touched_file_is_no_change(project: Project) -> None:
    age(project.folder)
    project.ingest("photos", "r1")
    photos(project)[0].touch()
    receipt = project.ingest("photos", "r2")
    assert receipt.counts["read"] == 1
    assert some(receipt.counts) == {}
    assert receipt.counts["unchanged"] == 6


def test_items_inside_a_file_come_and_go(project: Project) -> None:
    age(project.folder)
    project.ingest("notes", "r1")
    notes = project.read_notes()
    gone, edited, *_ = notes
    del notes[gone]
    notes[edited] += " revised"
    notes["added"] = "an added note about words"
    project.write_notes(notes)
    receipt = project.ingest("notes", "r2")
    assert some(receipt.counts) == {"new": 1, "changed": 1, "vanished": 1}
    rows = live(project, "notes")
    assert set(rows) == {f"notes.jsonl#{key}" for key in notes}
    assert rows["notes.jsonl#added"]["excerpt"] == "an added note about words"
    assert rows["notes.jsonl#added"]["metadata"] == '{"id": "added", "length": 25}'


def test_a_bad_file_is_quarantined_and_heals(project: Project) -> None:
    age(project.folder)
    bad = project.folder / "photos" / "bad.jpg"
    bad.write_bytes(b"this is no image")
    receipt = project.ingest("photos", "r1")
    assert some(receipt.counts) == {"new": 6, "bad": 1}
    assert receipt.counts["quarantined"] == 1
    (row,) = project.lake.read("quarantine").to_pylist()
    assert (row["source"], row["uri"], row["stage"], row["size_bytes"]) == (
        "photos",
        "bad.jpg",
        "identify",
        16,
    )
    shutil.copyfile(photos(project)[0], bad)
    assert project.ingest("photos", "r2").counts["new"] == 1
    assert project.lake.read("quarantine").num_rows == 0


def test_a_bad_file_that_is_deleted_leaves_the_quarantine(project: Project) -> None:
    bad = project.folder / "photos" / "bad.jpg"
    bad.write_bytes(b"this is no image")
    project.ingest("photos", "r1")
    bad.unlink()
    assert project.ingest("photos", "r2").changed
    assert project.lake.read("quarantine").num_rows == 0


def test_a_malformed_line_is_quarantined_with_its_number(project: Project) -> None:
    path = project.folder / "notes.jsonl"
    lines = path.read_text("utf-8").splitlines()
    lines[9] = lines[9][:-5]
    path.write_text("\n".join(lines), "utf-8")
    receipt = project.ingest("notes", "r1")
    assert some(receipt.counts) == {"new": 79, "bad": 1}
    (row,) = project.lake.read("quarantine").to_pylist()
    assert "10" in row["uri"]


def test_a_source_that_is_not_there_changes_nothing(project: Project) -> None:
    project.ingest("photos", "r1")
    before = project.versions()
    time.sleep(0)
    (project.folder / "photos").rename(project.folder / "elsewhere")
    with pytest.raises(SourceError, match="photos"):
        project.ingest("photos", "r2")
    assert project.versions() == before


def test_new_settings_read_the_same_file_anew(project: Project) -> None:
    age(project.folder)
    project.ingest("notes", "r1")
    config = project.folder / "latentlake.toml"
    config.write_text(config.read_text("utf-8").replace('key = "id"\n', ""), "utf-8")
    receipt = project.ingest("notes", "r2")
    assert receipt.counts["read"] == 1
    assert set(live(project, "notes")) == {f"notes.jsonl#{n}" for n in range(1, 81)}
