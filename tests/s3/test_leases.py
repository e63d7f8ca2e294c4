"""One writer a lake on S3: taking turns, taking over, and a late writer that harms nobody."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from data.commits import signed
from data.fencing import differs_from
from data.lake import Lake, table_of
from data.locking import LOCK_NAME, Owner
from data.processes import ProcessId, is_dead, this_process
from data.stores import leases, open_store
from data.stores.leases import LeaseNote, decode
from data.undo import whole_or_undone
from latentlake.errors import LakeBusyError, LakeError, WriterLostError
from latentlake.progress import ProgressEvent, listening
from tasks.stages.runs import writing
from tests.s3.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import CommitProperties

    from tests.s3.conftest import Bucket

ELSEWHERE = ProcessId("another boot", 1, "0")


def root_in(bucket: Bucket) -> str:
    return f"s3://{bucket.name}/lake"


def note_of(bucket: Bucket) -> LeaseNote:
    return decode(bucket.get(f"lake/{LOCK_NAME}"))


def put_note(bucket: Bucket, **changes: Any) -> None:
    owner = Owner("embed", 7, "elsewhere", "2026-01-01T00:00:00+00:00")
    note = LeaseNote(3, 3, 60.0, owner, ELSEWHERE)
    bucket.put(f"lake/{LOCK_NAME}", replace(note, **changes).encode())


def add_item(lake: Lake, name: str) -> None:
    row = {"item_id": name, "first_run": "r", "deleted": False}
    lake.upsert("items", table_of("items", [row]), "r")


def items(lake: Lake) -> list[str]:
    return sorted(lake.read("items")["item_id"].to_pylist())


def run_elsewhere(root: str, count: int, *options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.s3.committer", root, str(count), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [(), ("--locked",)], ids=["racing", "in turn"])
def test_eight_processes_lose_no_row_and_no_snapshot(
    bucket: Bucket, options: tuple[str, ...]
) -> None:
    run_elsewhere(root_in(bucket), 8, *options)
    lake = Lake(root_in(bucket))
    assert lake.snapshots() == list(range(1, 9))
    runs = {lake.snapshot(number).run_id for number in lake.snapshots()}
    assert runs == {f"run{n}" for n in range(8)}
    assert items(lake) == [f"i{n}" for n in range(8)]
    if options:
        held = note_of(bucket)
        assert (held.epoch, held.mended, held.owner) == (8, 8, None)


def test_a_second_writer_is_refused_with_the_name_of_the_first(bucket: Bucket) -> None:
    store = open_store(root_in(bucket))
    with (
        store.sole_writer("ingest"),
        pytest.raises(LakeBusyError, match=r"'latentlake ingest' \(process \d+ on .+\)"),
        store.sole_writer("run", wait=False),
    ):
        pass
    with store.sole_writer("run", wait=False) as was_broken:
        assert not was_broken
        assert note_of(bucket).epoch == 2


def test_a_writer_waits_for_its_turn_and_says_for_whom(bucket: Bucket) -> None:
    order: list[str] = []
    waits = threading.Event()
    first, other = open_store(root_in(bucket)), open_store(root_in(bucket))

    def note(event: ProgressEvent) -> None:
        order.append(event.stage)
        waits.set()

    def second() -> None:
        with other.sole_writer("embed"):
            order.append("second")

    thread = threading.Thread(target=second)
    with listening(note):
        with first.sole_writer("ingest"):
            thread.start()
            assert waits.wait(20)
            order.append("first")
        thread.join(20)
    assert order[0].startswith("wait for 'latentlake ingest'")
    assert order.index("first") < order.index("second")


def test_a_dead_process_of_this_machine_keeps_nobody_waiting(bucket: Bucket) -> None:
    child = subprocess.Popen(["sleep", "60"])
    dead = replace(this_process(), number=child.pid, started="1")
    alive = this_process()
    try:
        assert is_dead(dead)  # the number is in use again, by a process that began later
        assert not is_dead(alive)
        assert not is_dead(ELSEWHERE)
    finally:
        child.kill()
        child.wait()
    assert is_dead(dead)
    put_note(bucket, process=alive)
    with pytest.raises(LakeBusyError), open_store(root_in(bucket)).sole_writer("r", wait=False):
        pass
    put_note(bucket, process=dead)
    with open_store(root_in(bucket)).sole_writer("run", wait=False) as was_broken:
        assert was_broken
        assert (note_of(bucket).epoch, note_of(bucket).mended) == (4, 3)


def test_a_lease_that_is_not_renewed_expires_by_the_clock_of_s3(bucket: Bucket) -> None:
    put_note(bucket)
    store = open_store(root_in(bucket))
    with (
        pytest.raises(LakeBusyError, match="'latentlake embed'"),
        store.sole_writer("r", wait=False),
    ):
        pass
    put_note(bucket, lease_s=1.0)
    with store.sole_writer("run") as was_broken:  # waits for it
        assert was_broken


def test_a_lease_is_renewed_as_long_as_it_is_held(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.6)
    store, seen = open_store(root_in(bucket)), set[str]()
    done = threading.Event()
    with store.sole_writer("run"):
        for _ in range(100):
            seen.add(note_of(bucket).token)
            if len(seen) > 3:
                break
            done.wait(0.05)
        store.require_writer()
    assert len(seen) > 3
    assert note_of(bucket).owner is None


def test_what_is_no_lease_is_not_overwritten(bucket: Bucket) -> None:
    bucket.put(f"lake/{LOCK_NAME}", b"{}")
    with pytest.raises(LakeError, match="remove it by hand"):
        open_store(root_in(bucket)).sole_writer("run").__enter__()
    assert bucket.get(f"lake/{LOCK_NAME}") == b"{}"


@pytest.fixture
def suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of this process stand for a second and are never renewed."""
    monkeypatch.setattr(leases, "LEASE_S", 1.0)
    monkeypatch.setattr(leases, "RENEWALS", 0.001)


@pytest.mark.usefixtures("suspended")
def test_a_commit_under_way_when_the_lease_was_lost_does_not_happen(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = root_in(bucket)
    lake = Lake(root)

    def overtaken(run_id: str) -> CommitProperties:
        """The table is open and the lease was looked at; now somebody else takes over and ends."""
        monkeypatch.setattr("data.row_changes.signed", signed)
        run_elsewhere(root, 1, "--locked", "--runs")
        return signed(run_id)

    def run() -> None:
        with writing(lake, "run"):
            add_item(lake, "before")
            monkeypatch.setattr("data.row_changes.signed", overtaken)
            add_item(lake, "late")

    with pytest.raises(WriterLostError, match="another writer has taken over"):
        run()
    assert items(lake) == ["before"]
    assert lake.snapshots() == [1]
    assert lake.read("items", snapshot=lake.snapshot())["item_id"].to_pylist() == ["before"]


@pytest.mark.parametrize(
    "late",
    [
        lambda lake: add_item(lake, "late"),
        lambda lake: lake.commit_snapshot("late"),
        lambda lake: lake.store.delete(["snapshots/000000000001.json"]),
        lambda lake: lake.store.confirm_writer(),
    ],
    ids=["commit", "snapshot", "delete", "confirm"],
)
@pytest.mark.usefixtures("suspended")
def test_a_writer_that_wakes_up_after_it_lost_the_lease_is_stopped(
    bucket: Bucket, late: Callable[[Lake], object]
) -> None:
    lake = Lake(root_in(bucket))

    def run() -> None:
        with writing(lake, "run"):
            run_elsewhere(root_in(bucket), 1, "--locked")
            late(lake)

    with pytest.raises(WriterLostError):
        run()
    assert items(lake) == ["i0"]
    assert lake.snapshots() == [1]
    held = note_of(bucket)
    assert (held.epoch, held.owner) == (2, None)


@pytest.mark.usefixtures("suspended")
def test_a_stage_that_lost_the_lease_is_undone_by_the_next_writer_and_not_by_itself(
    bucket: Bucket,
) -> None:
    lake = Lake(root_in(bucket))

    def run() -> None:
        with writing(lake, "run"), whole_or_undone(lake, "ingest"):
            add_item(lake, "half")
            run_elsewhere(root_in(bucket), 1, "--locked")
            add_item(lake, "late")

    with pytest.raises(WriterLostError):
        run()
    assert items(lake) == ["i0"]
    assert notes_in(bucket) == []


def notes_in(bucket: Bucket) -> list[str]:
    return [key for key in bucket.keys("lake/") if "undo" in key]


def test_a_lease_taken_over_is_no_news(bucket: Bucket) -> None:
    lake = Lake(root_in(bucket))
    with writing(lake, "run"):
        add_item(lake, "kept")
        snapshot = lake.commit_snapshot("run")
        assert not differs_from(lake, snapshot)
    put_note(bucket, epoch=1, mended=1, process=None, lease_s=0.0)
    with writing(lake, "run"):
        assert lake.versions() == {"tables/items": snapshot.versions["tables/items"] + 1}
        assert not differs_from(lake, snapshot)
        add_item(lake, "new")
        assert differs_from(lake, snapshot)


def test_an_undo_note_that_comes_late_is_not_followed(bucket: Bucket) -> None:
    lake = Lake(root_in(bucket))
    with writing(lake, "run"):
        late = json.dumps({"stage": "ingest", "versions": lake.versions()}).encode()
    with writing(lake, "run"):
        add_item(lake, "kept")
    lake.store.write("undo-000000001.json", late)
    with writing(lake, "run"):
        assert items(lake) == ["kept"]
        assert notes_in(bucket) == []


def test_a_note_of_the_last_writer_is_followed_even_if_the_one_after_died_at_once(
    bucket: Bucket,
) -> None:
    lake = Lake(root_in(bucket))
    with writing(lake, "run"):
        add_item(lake, "kept")
        late = json.dumps({"stage": "ingest", "versions": lake.versions()}).encode()
        add_item(lake, "half")
        lake.store.write("undo-000000001.json", late)
    put_note(bucket, epoch=2, mended=1, lease_s=0.0, process=None)
    with writing(lake, "run"):
        assert items(lake) == ["kept"]
