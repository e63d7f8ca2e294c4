"""Compaction, vacuum and restoring: what they change, and all that they must not."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.commits import retrying_commit
from data.lake import table_of
from data.locking import sole_writer
from data.maintenance.vacuuming import Retention, carry_out, plan_vacuum
from latentlake.errors import LakeBusyError
from tasks.stages.maintaining import (
    CompactionOptions,
    compact_lake,
    migrate_lake,
    restore_lake,
    vacuum_lake,
)
from tasks.stages.searching import SearchQuery, search
from tests.tasks.maintenance.conftest import dump, problems, shards, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.tasks.conftest import Project


def test_compaction_rebuilds_nothing(built: Project) -> None:
    before, older = built.lake.snapshot(), built.lake.snapshot(1)
    expected, expected_older = dump(built, before), dump(built, older)
    assert len(shards(built)) > 3
    done = compact_lake(built.lake, built.settings, CompactionOptions(shard_rows=1000))
    assert done.changed
    assert done.snapshot == before.number + 1
    assert len(shards(built)) == 1
    assert dump(built, built.lake.snapshot()) == expected
    assert dump(built, before) == expected
    assert dump(built, older) == expected_older
    assert problems(built) == ""
    row = built.lake.read("runs", where=pc.field("run_id") == done.run_id).to_pylist()[0]
    assert row["command"] == "compact"
    again = built.run()
    assert not again.changed, again.receipts
    assert not compact_lake(built.lake, built.settings, CompactionOptions(shard_rows=1000)).changed


def test_unused_vectors_are_dropped_on_request_only(built: Project) -> None:
    held = sum(pq.read_metadata(path).num_rows for path in shards(built))
    done = compact_lake(
        built.lake, built.settings, CompactionOptions(shard_rows=1000, drop_unused=True)
    )
    counts = next(r.counts for r in done.receipts if r.subject == "words")
    assert counts["dropped"] == 2  # the removed note and the old text of the changed one
    assert sum(pq.read_metadata(path).num_rows for path in shards(built)) == held - 2
    assert problems(built) == ""
    assert not built.run().changed


def test_vacuum_after_compaction_leaves_a_sound_lake(built: Project) -> None:
    compact_lake(built.lake, built.settings, CompactionOptions(shard_rows=1000))
    expected = dump(built, built.lake.snapshot())
    now = datetime.now(UTC) + timedelta(minutes=1)
    planned = plan_vacuum(built.lake, Retention(keep_runs=1, grace_hours=0), now)
    kinds = {removal.kind for removal in planned}
    assert {"snapshot", "shard", "table", "index"} <= kinds
    assert "model" not in kinds
    carry_out(built.lake, planned)
    assert len(list((built.folder / "lake" / words(built).id.folder).glob("*.parquet"))) == 1
    assert problems(built) == ""
    assert dump(built, built.lake.snapshot()) == expected
    assert not built.run().changed


def test_an_older_state_is_searched_with_its_own_index(built: Project) -> None:
    query = SearchQuery(text="dark matter halos of galaxies", k=3)
    now = search(built.lake, built.settings, query)
    then = search(built.lake, built.settings, query, built.lake.snapshot(1))
    assert "notes.jsonl#new" in str(now.hits["uri"].to_pylist())
    assert "notes.jsonl#new" not in str(then.hits["uri"].to_pylist())
    assert then.unindexed == 0


def test_a_restored_state_is_current_and_the_next_run_goes_on(built: Project) -> None:
    first, second = built.lake.snapshot(1), built.lake.snapshot(2)
    expected, expected_later = dump(built, first), dump(built, second)
    done = restore_lake(built.lake, built.settings, first)
    assert done.snapshot == 3
    assert dump(built, built.lake.snapshot()) == expected
    assert dump(built, second) == expected_later
    assert problems(built) == ""
    runs = built.lake.read("runs")["command"].to_pylist()
    assert sorted(runs) == ["pipeline", "pipeline", "restore"]
    # The sources are still those of the second run.
    again = built.run()
    assert again.changed
    embed = next(r for r in again.receipts if r.stage == "embed")
    assert embed.counts["reused"] > 0  # its shard lies there since the second run
    seen = dump(built, built.lake.snapshot())
    assert seen["embeddings_words"] == expected_later["embeddings_words"]
    assert problems(built) == ""
    # And back again, to where the restored state was left.
    restore_lake(built.lake, built.settings, second)
    assert dump(built, built.lake.snapshot()) == expected_later


def test_restoring_the_present_state_does_nothing(built: Project) -> None:
    assert not restore_lake(built.lake, built.settings, built.lake.snapshot()).changed


def test_a_restore_that_fails_anywhere_changes_nothing(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, versions = dump(built, built.lake.snapshot()), built.lake.versions()
    for survived in (0, 1, 4, 7):
        commits = iter(range(100))

        def failing(
            commit: Callable[[], object],
            name: str,
            place: str,
            n: int = survived,
            c: Iterator[int] = commits,
        ) -> object:
            if next(c) >= n:
                raise InterruptedError
            return retrying_commit(commit, name, place)

        with monkeypatch.context() as patched:
            patched.setattr("data.maintenance.restoring.retrying_commit", failing)
            with pytest.raises(InterruptedError):
                restore_lake(built.lake, built.settings, built.lake.snapshot(1))
        assert not (built.folder / "lake/undo.json").exists()
        assert set(built.lake.versions()) == set(versions)
        assert dump(built, built.lake.snapshot()) == expected
        # What is committed now is what was: a run finds no news in the sources.
        receipts = [built.ingest("notes"), built.embed("words")[1]]
        assert not any(receipt.changed for receipt in receipts)
    assert problems(built) == ""


def test_vacuum_takes_an_unfinished_stage_back_before_it_judges(built: Project) -> None:
    """The note of a stage that died names versions that neither a snapshot nor the present has."""
    lake = built.lake
    rows = table_of("runs", [{"run_id": "finished stage of a run that is not published"}])
    lake.upsert("runs", rows, "r")
    wanted = lake.files("runs")
    note = {"stage": "dead", "versions": lake.versions()}
    lake.delete("runs", rows.select(["run_id"]), "r")
    (lake.root / "undo.json").write_text(json.dumps(note))
    for path in lake.root.rglob("*"):
        os.utime(path, (0, 0))
    vacuum_lake(lake, Retention(grace_hours=0))
    assert lake.files("runs") == wanted
    assert all(Path(path).exists() for path in wanted)
    assert not (lake.root / "undo.json").exists()
    assert problems(built) == ""


def test_a_busy_lake_is_not_maintained(built: Project) -> None:
    with sole_writer(built.lake.root, "run"):
        for call in (
            lambda: vacuum_lake(built.lake, Retention(), wait=False),
            lambda: compact_lake(built.lake, built.settings, CompactionOptions(), wait=False),
            lambda: restore_lake(built.lake, built.settings, built.lake.snapshot(1), wait=False),
            lambda: migrate_lake(built.lake, built.settings, wait=False),
        ):
            with pytest.raises(LakeBusyError):
                call()
