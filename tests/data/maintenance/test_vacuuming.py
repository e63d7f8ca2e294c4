"""Vacuum: whatever is kept stays whole, and what nothing needs goes."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from data.commits import file_paths
from data.lake import table_of
from data.maintenance.compacting import compact_space, compact_tables
from data.maintenance.restoring import restore_tables
from data.maintenance.vacuuming import Retention, carry_out, kept_snapshots, plan_vacuum
from latentlake.errors import LakeNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.data.maintenance.conftest import Toy

NOW = datetime.now(UTC) + timedelta(hours=1)
"""Nothing that a test writes is young by then."""
AT_ONCE = Retention(grace_hours=0)

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("run"),
            st.dictionaries(st.sampled_from("abcd"), st.sampled_from("pqrst"), max_size=3),
            st.sets(st.sampled_from("abcd"), max_size=2),
        ),
        st.tuples(st.just("orphan"), st.sampled_from("xyz"), st.none()),
        st.tuples(st.just("compact"), st.none(), st.none()),
        st.tuples(st.just("restore"), st.integers(0, 5), st.none()),
        st.tuples(st.just("vacuum"), st.integers(1, 4), st.none()),
    ),
    max_size=6,
)


def take(toy: Toy, step: tuple[str, Any, Any]) -> None:
    kind, first, second = step
    match kind:
        case "run":
            toy.run(first, second)
        case "orphan":
            toy.write([toy.content(first)])
        case "compact" if toy.lake.snapshots():
            compact_space(toy.lake, toy.space, 4, "compact")
            compact_tables(toy.lake, "compact")
            toy.snapshot("compact")
        case "restore" if toy.lake.snapshots():
            numbers = toy.lake.snapshots()
            number = numbers[first % len(numbers)]
            restore_tables(toy.lake, toy.lake.snapshot(number), "restore")
            toy.items = dict(toy.states[number])
            toy.snapshot("restore")
        case "vacuum" if toy.lake.snapshots():
            retention = Retention(keep_runs=first, grace_hours=0)
            carry_out(toy.lake, plan_vacuum(toy.lake, retention, NOW))
            assert len(toy.lake.snapshots()) <= first
        case _:
            pass


@settings(max_examples=8)
@given(steps=steps)
def test_after_any_history_every_kept_snapshot_is_whole(
    make_toy: Callable[[], Toy], steps: list[tuple[str, Any, Any]]
) -> None:
    toy = make_toy()
    for step in [*steps, ("run", {"a": "p"}, set()), ("vacuum", 2, None)]:
        take(toy, step)
        toy.assert_kept_snapshots_are_whole()
    assert plan_vacuum(toy.lake, AT_ONCE, NOW) == []
    # And no file is left that no kept snapshot needs.
    needed = {
        os.path.realpath(path)
        for number in toy.lake.snapshots()
        for folder, version in toy.lake.snapshot(number).versions.items()
        for path in file_paths(DeltaTable(str(toy.root / folder), version=version))
    }
    held = {
        os.path.realpath(path)
        for path in toy.root.rglob("*.parquet")
        if "_delta_log" not in path.parts
    }
    assert held == needed
    toy.run({"z": "zz"})
    toy.assert_kept_snapshots_are_whole()


def garbage(toy: Toy) -> dict[str, Path]:
    """Everything that vacuum should find."""
    root = toy.root
    made = {
        "shard": toy.write([toy.content("orphan")]),
        "index": root / "indexes/cnn/f00d/old/index.faiss",
        "model": root / "models/cnn/0123/weights.bin",
        "checkpoint": root / "checkpoints/cnn/f00d/000000000000.arrow",
        "plan": root / "work/cnn/f00d/part-1.plan",
        "temporary": root / "embeddings/cnn/f00d/_tmp-0011-part.parquet",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(b"12345")
    (root / "_tmp-00-catalog.duckdb").write_bytes(b"1")
    return made


def keep(toy: Toy) -> list[Path]:
    """What a kept state names besides its tables."""
    index = toy.root / "indexes/cnn/f00d/now/index.faiss"
    model = toy.root / "models/cnn/4567/weights.bin"
    for path in (index, model):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
    build = {"space": "cnn", "stage": "index", "details": '{"path": "indexes/cnn/f00d/now"}'}
    toy.lake.upsert("builds", table_of("builds", [build]), "run")
    space = {"space": "cnn", "fingerprint": "f00d", "artefact": "models/cnn/4567"}
    rows = [space | {"is_current": True, "dim": 4, "metric": "cosine"}]
    toy.lake.upsert("spaces", table_of("spaces", rows), "run")
    toy.snapshot("kept")
    return [index, model]


def test_a_dry_plan_changes_nothing_and_counts_bytes(toy: Toy) -> None:
    toy.run({"a": "p"})
    made = garbage(toy)
    before = sorted(path for path in toy.root.rglob("*"))
    planned = plan_vacuum(toy.lake, AT_ONCE, NOW)
    assert sorted(path for path in toy.root.rglob("*")) == before
    assert {removal.kind for removal in planned} == set(made)
    for removal in planned:
        assert removal.size_bytes == (toy.root / removal.path).stat().st_size


def test_garbage_goes_and_what_is_named_stays(toy: Toy) -> None:
    toy.run({"a": "p"})
    named = keep(toy)
    made = garbage(toy)
    carry_out(toy.lake, plan_vacuum(toy.lake, AT_ONCE, NOW))
    assert not any(path.exists() for path in made.values())
    assert not (toy.root / "indexes/cnn/f00d/old").exists()
    assert not list(toy.root.glob("_tmp-*"))
    assert all(path.exists() for path in named)
    toy.states[2] = toy.states[1]
    toy.assert_kept_snapshots_are_whole()


def test_the_young_stay(toy: Toy) -> None:
    toy.run({"a": "p"})
    made = garbage(toy)
    assert plan_vacuum(toy.lake, Retention(grace_hours=2), NOW) == []
    old = (NOW - timedelta(hours=3)).timestamp()
    os.utime(made["plan"], (old, old))
    found = plan_vacuum(toy.lake, Retention(grace_hours=2), NOW)
    assert [removal.kind for removal in found] == ["plan"]


def test_a_version_between_two_snapshots_stays_while_it_is_young(toy: Toy) -> None:
    """A run at work reads tables as they are committed now."""
    toy.run({"a": "p"})
    toy.lake.upsert("runs", table_of("runs", [{"run_id": "x"}]), "x")
    between = toy.lake.files("runs")
    toy.lake.upsert("runs", table_of("runs", [{"run_id": "y"}]), "y")
    for path in toy.root.rglob("*.parquet"):
        os.utime(path, (0, 0))
    carry_out(toy.lake, plan_vacuum(toy.lake, Retention(grace_hours=2), NOW))
    assert all(Path(path).exists() for path in between)


def test_snapshots_are_kept_by_either_rule(toy: Toy) -> None:
    for n in range(4):
        toy.run({"a": str(n)})

    def numbers(**rule: Any) -> list[int]:
        return [s.number for s in kept_snapshots(toy.lake, Retention(**rule), NOW)]

    assert numbers() == [1, 2, 3, 4]
    assert numbers(keep_runs=2) == [3, 4]
    assert numbers(keep_runs=0) == [4]
    assert numbers(keep_days=1) == [1, 2, 3, 4]
    assert numbers(keep_days=0) == [4]
    assert numbers(keep_runs=1, keep_days=1) == [1, 2, 3, 4]


def test_a_crash_at_any_removal_leaves_a_valid_lake(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        toy.run({"a": str(n), "b": str(n + 1)})
    garbage(toy)
    planned = plan_vacuum(toy.lake, Retention(keep_runs=1, grace_hours=0), NOW)
    assert len(planned) > 8
    whole = tmp_path / "whole"
    shutil.copytree(toy.root, whole)
    unlink = Path.unlink
    for cut in range(len(planned)):
        left = iter(range(cut))

        def dying(path: Path, missing_ok: bool = False, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise InterruptedError
            unlink(path, missing_ok=missing_ok)

        shutil.rmtree(toy.root)
        shutil.copytree(whole, toy.root)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", dying)
            with pytest.raises(InterruptedError):
                carry_out(toy.lake, planned)
        toy.assert_kept_snapshots_are_whole()
        carry_out(toy.lake, plan_vacuum(toy.lake, Retention(keep_runs=1, grace_hours=0), NOW))
        assert toy.lake.snapshots() == [3]
        toy.assert_kept_snapshots_are_whole()


def test_links_and_strangers_are_left_alone(toy: Toy, tmp_path: Path) -> None:
    toy.run({"a": "p"})
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "_tmp-1.jpg").write_bytes(b"mine")
    (toy.root / "models" / "cnn").mkdir(parents=True)
    (toy.root / "models" / "cnn" / "link").symlink_to(photos)
    (toy.root / "notes.txt").write_text("mine")
    (toy.root / "photos").mkdir()
    (toy.root / "photos" / "_tmp-2.jpg").write_bytes(b"mine")
    carry_out(toy.lake, plan_vacuum(toy.lake, AT_ONCE, NOW))
    assert (photos / "_tmp-1.jpg").exists()
    assert (toy.root / "notes.txt").exists()
    assert (toy.root / "photos" / "_tmp-2.jpg").exists()


def test_without_a_snapshot_nothing_is_judged(toy: Toy) -> None:
    toy.write([toy.content("a")])
    with pytest.raises(LakeNotFoundError):
        plan_vacuum(toy.lake, AT_ONCE, NOW)


def test_logs_of_pinned_versions_survive_checkpoints(toy: Toy) -> None:
    """By default a checkpoint drops log entries older than 30 days, and the snapshots with them."""
    first = toy.run({"a": "p"})
    table = toy.lake.delta("tables/items")
    assert table is not None
    assert table.metadata().configuration["delta.enableExpiredLogCleanup"] == "false"
    for path in (toy.root / "tables" / "items" / "_delta_log").iterdir():
        os.utime(path, (0, 0))
    toy.run({"b": "q"})
    table.update_incremental()
    table.create_checkpoint()
    assert toy.read(first) == toy.expected(toy.states[1])
