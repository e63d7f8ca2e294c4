"""Maintenance of a real small project: all stages have run, indexes and reports are there."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.catalog import CATALOG_NAME, connect, space_versions, write_catalog
from data.commits import retrying_commit
from data.lake import table_of
from data.locking import sole_writer
from data.maintenance.findings import ForgetBuilds
from data.maintenance.mending import mend
from data.maintenance.vacuuming import Retention, carry_out, plan_vacuum
from data.shards import read_footer, shard_paths, write_shard
from data.vectors import vectors_of
from data.versions import describe_version
from latentlake.errors import LakeBusyError, SchemaVersionError, ShardError
from models.indexes.vector_index import VectorIndex
from tasks.stages.indexing import INDEX_FILE
from tasks.stages.maintaining import (
    CompactionOptions,
    compact_lake,
    mend_lake,
    migrate_lake,
    needs_migration,
    restore_lake,
    vacuum_lake,
)
from tasks.stages.runs import begin_run
from tasks.stages.searching import SearchQuery, search
from tasks.stages.spaces import known_space
from tasks.stages.verifying import verify_lake
from tests.tasks.conftest import Project, make_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """Two runs: in the second a note is new, one is changed and one is gone."""
    made = make_project(tmp_path_factory.mktemp("maintaining") / "project", samples)
    made.run()
    notes = made.read_notes()
    first, second, *_ = notes
    notes[first] += " Indeed, and more so than before."
    del notes[second]
    made.write_notes(notes | {"new": "Galaxies merge and their dark matter halos merge with them."})
    made.run()
    return made.folder


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_once, tmp_path / "project")
    project = Project(tmp_path / "project")
    write_catalog(project.lake, project.lake.snapshot())  # it has moved
    return project


def words(project: Project) -> SpaceRow:
    return known_space(project.lake, "words")


def shards(project: Project, snapshot: Snapshot | None = None) -> list[Path]:
    return [Path(path) for path in shard_paths(project.lake, words(project).id, snapshot)]


def index_file(project: Project) -> Path:
    return max((project.folder / "lake/indexes/words").rglob(INDEX_FILE), key=str)


def problems(project: Project) -> str:
    return "\n".join(f"{f.subject}: {f.problem}. {f.remedy}" for f in verify_lake(project.lake))


def dump(project: Project, snapshot: Snapshot) -> dict[str, list[str]]:
    """Everything a reader of a snapshot sees, but for the history of runs."""
    views = ["items", "quarantine", "neighbours", "duplicates", "clusters", "cluster_summary"]
    views += ["pairs", "paired", "centroids", "detector_fits"]
    with connect(project.lake, snapshot) as connection:
        return {
            view: sorted(map(str, connection.execute(f"FROM {view}").fetchall()))
            for view in [*views, "anomalies", "indexes", "embeddings_words"]
        }


def test_a_sound_lake_has_no_findings(built: Project) -> None:
    assert problems(built) == ""
    older = built.lake.snapshot(1)
    assert list(verify_lake(built.lake, older)) == []


def test_a_lake_whose_reports_lag_behind_its_items_is_sound(built: Project) -> None:
    notes = built.read_notes()
    built.write_notes(dict(list(notes.items())[3:]) | {"later": "Another note about planets."})
    built.ingest("notes")
    write_catalog(built.lake, built.lake.commit_snapshot("ingest"))
    assert problems(built) == ""


def flip(project: Project) -> None:
    path = shards(project)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def remove_shard(project: Project) -> None:
    shards(project)[0].unlink()


def cut_shard(project: Project) -> None:
    path = shards(project)[0]
    path.write_bytes(path.read_bytes()[:-100])


def footer_digest(project: Project) -> None:
    """A shard that is whole and sealed, but whose ids are not those that its footer promises."""
    path = shards(project)[0]
    table = pq.read_table(path)
    ids = table["content_id"].to_pylist()
    matrix = vectors_of(table["vector"], words(project).id.dim)
    with patch("data.shards.digest_of_ids", lambda _: "0" * 32):
        write_shard(path, words(project).id, ids, np.array(matrix))


def other_space(project: Project) -> None:
    path = shards(project)[0]
    space = words(project).id
    table = pq.read_table(path)
    ids, matrix = table["content_id"].to_pylist(), vectors_of(table["vector"], space.dim)
    write_shard(path, replace(space, fingerprint="beef"), ids, np.array(matrix))


def lost_row(project: Project) -> None:
    path = shards(project)[0]
    table = pq.read_table(path).slice(1)
    space = words(project).id
    ids, matrix = table["content_id"].to_pylist(), vectors_of(table["vector"], space.dim)
    write_shard(path, space, ids, np.array(matrix))


def cut_index(project: Project) -> None:
    path = index_file(project)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign_index(project: Project) -> None:
    path = index_file(project)
    VectorIndex.load(path).save(path, "beef")


def shuffled_index(project: Project) -> None:
    """An index of the right size, whose list of contents is in another order."""
    path = index_file(project).with_name("contents.parquet")
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array(range(table.num_rows - 1, -1, -1))), path)


def no_index(project: Project) -> None:
    shutil.rmtree(index_file(project).parent)


def strange_neighbour(project: Project) -> None:
    rows = project.lake.read("neighbours", where=pc.field("space") == "words").to_pylist()
    rows[0]["neighbours"] = ["0" * 32]
    rows[0]["similarities"] = [1.0]
    project.lake.replace_space("neighbours", "words", table_of("neighbours", rows), "damage")
    write_catalog(project.lake, project.lake.commit_snapshot("damage"))


def strange_twin(project: Project) -> None:
    row = {"space": "words", "item_id": "nobody", "twin_id": "nobody2"}
    project.lake.replace_space("duplicates", "words", table_of("duplicates", [row]), "damage")
    write_catalog(project.lake, project.lake.commit_snapshot("damage"))


def old_catalog(project: Project) -> None:
    write_catalog(project.lake, project.lake.snapshot(1))


def no_catalog(project: Project) -> None:
    (project.folder / "lake" / CATALOG_NAME).write_bytes(b"no database")


DAMAGES = {
    flip: "a byte of the file has changed|cannot be read",
    remove_shard: "the file is missing",
    cut_shard: "not a whole Parquet file",
    footer_digest: "do not have the digest that its footer says",
    other_space: "its footer says fingerprint 'beef'",
    lost_row: "the table's log says",
    cut_index: "cut short",
    foreign_index: "has fingerprint beef",
    shuffled_index: "vectors of its own in their place",
    no_index: "cannot be read",
    strange_neighbour: "1 values of neighbours name no content",
    strange_twin: "1 values of item_id name no item",
    old_catalog: "shows snapshot 1, the last one is 2",
    no_catalog: "cannot be used",
}


@pytest.mark.parametrize(
    ("damage", "said"), DAMAGES.items(), ids=[damage.__name__ for damage in DAMAGES]
)
def test_each_damage_is_found(built: Project, damage: Callable[[Project], None], said: str) -> None:
    damage(built)
    findings = list(verify_lake(built.lake))
    assert any(re.search(said, finding.problem) for finding in findings), findings
    assert all("latentlake" in finding.remedy for finding in findings)


@pytest.mark.parametrize(
    "damages", [[footer_digest, no_catalog], [cut_index], [lost_row, strange_twin]]
)
def test_damage_is_mended(
    built: Project, tmp_path: Path, damages: list[Callable[[Project], None]]
) -> None:
    sound = Project(shutil.copytree(built.folder, tmp_path / "sound"))
    mend(sound.lake, [ForgetBuilds("words")], "run")
    sound.run()
    expected = dump(sound, sound.lake.snapshot())
    for damage in damages:
        damage(built)
    findings = list(verify_lake(built.lake))
    mend_lake(built.lake, built.settings, findings)
    built.run()
    assert [f for f in verify_lake(built.lake) if not f.subject.startswith("snapshot ")] == []
    seen = dump(built, built.lake.snapshot())
    for view in ("items", "embeddings_words", "clusters", "anomalies", "pairs", "neighbours"):
        assert seen[view] == expected[view]


def test_a_damaged_snapshot_or_lost_table_file_is_found(built: Project) -> None:
    (built.folder / "lake/snapshots/000000000001.json").write_text("{")
    assert "snapshot 1" in problems(built)
    Path(built.lake.files("items", built.lake.snapshot())[0]).unlink()
    assert "files of it are missing" in problems(built)
    assert "tables/items: cannot be read" in problems(built)


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


def age(project: Project) -> None:
    """Make the project's lake one of version 0, as it was written before versions were."""
    from deltalake import DeltaTable, write_deltalake

    lake = project.lake
    for name in ("quarantine", "spaces", "builds"):
        table = lake.delta(f"tables/{name}")
        if table is None:
            continue
        rows = lake.read(name)
        names = ["at" if column == "recorded_at" else column for column in rows.column_names]
        write_deltalake(
            table, rows.rename_columns(names), mode="overwrite", schema_mode="overwrite"
        )
    for folder in lake.table_folders():
        DeltaTable(str(lake.root / folder)).alter.set_table_description("")
    for path in shards(project):
        table = pq.read_table(path)
        metadata = table.schema.metadata
        footer = json.loads(metadata[b"latentlake"]) | {"schema_version": 0}
        old = table.replace_schema_metadata({b"latentlake": json.dumps(footer).encode()})
        pq.write_table(old, path, use_dictionary=False, compression="none")
    versions = lake.versions()
    for path in (lake.root / "snapshots").iterdir():
        content = json.loads(path.read_text())
        del content["schema_version"]
        path.write_text(json.dumps(content | {"versions": versions}))


def test_a_lake_of_version_0_is_migrated(built: Project) -> None:
    expected = dump(built, built.lake.snapshot())
    age(built)
    with pytest.raises(SchemaVersionError, match="latentlake migrate"):
        built.lake.snapshot()
    with pytest.raises(SchemaVersionError, match="version 0, this code reads 5"):
        begin_run(built.lake, "pipeline")
    with pytest.raises(SchemaVersionError, match="latentlake migrate"):
        built.lake.upsert("runs", table_of("runs", [{"run_id": "r"}]), "r")

    steps = needs_migration(built.lake)
    assert steps is not None
    assert len(steps) == len(built.lake.table_folders())
    migrate_lake(built.lake, built.settings)
    assert needs_migration(built.lake) is None
    assert [f for f in verify_lake(built.lake) if not f.subject.startswith("snapshot ")] == []
    assert dump(built, built.lake.snapshot()) == expected
    times = built.lake.read("builds", columns=["recorded_at"])["recorded_at"]
    assert times.null_count == 0
    assert not built.run().changed
    with pytest.raises(SchemaVersionError):
        built.lake.snapshot(1)


def age_to_2(project: Project) -> None:
    """Make the project's lake one of version 2: stages had nothing to extend yet."""
    from deltalake import DeltaTable, write_deltalake

    lake = project.lake
    for name in ("pairs", "paired", "centroids", "detector_fits"):
        shutil.rmtree(lake.root / "tables" / name)
    rows = lake.read("clusters").drop_columns(["silhouette"])
    table = lake.delta("tables/clusters")
    assert table is not None
    write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite", partition_by=["space"])
    builds = lake.read("builds").to_pylist()
    for row in builds:
        kept = {"path": json.loads(row["details"])["path"]} if row["stage"] == "index" else {}
        row |= {"details": json.dumps(kept), "inputs": "digests were taken in another way"}
    lake.upsert("builds", table_of("builds", builds), "run")
    for folder in lake.table_folders():
        place = DeltaTable(str(lake.root / folder))
        place.alter.set_table_description(describe_version(2))
    versions = lake.versions()
    for path in (lake.root / "snapshots").iterdir():
        content = json.loads(path.read_text()) | {"schema_version": 2, "versions": versions}
        path.write_text(json.dumps(content))


def test_a_lake_of_version_3_gets_keys_for_its_versions(built: Project) -> None:
    from deltalake import DeltaTable, write_deltalake

    expected = dump(built, built.lake.snapshot())
    held = built.lake.read("spaces").to_pylist()
    (row,) = [one for one in held if one["space"] == "words"]
    former = row | {"fingerprint": "f0f0f0", "is_current": False}
    rows = table_of("spaces", [*held, former]).drop_columns(["key", "is_waiting"])
    table = built.lake.delta("tables/spaces")
    assert table is not None
    write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite")
    for folder in built.lake.table_folders():
        place = DeltaTable(str(built.lake.root / folder))
        place.alter.set_table_description(describe_version(3))
    migrate_lake(built.lake, built.settings)
    assert [(space.key, space.is_current, space.is_waiting) for space in versions(built)] == [
        ("words", True, False),
        ("words-f0f0f0", False, False),
    ]
    assert dump(built, built.lake.snapshot()) == expected
    assert not built.run().changed


def versions(project: Project) -> list[SpaceRow]:
    return space_versions(project.lake, "words")


def test_a_lake_of_version_2_is_migrated_without_touching_a_shard(
    built: Project, tmp_path: Path
) -> None:
    anew = Project(shutil.copytree(built.folder, tmp_path / "anew"))
    mend(anew.lake, [ForgetBuilds("words")], "run")
    anew.run()
    age_to_2(built)
    before = {path: path.read_bytes() for path in shards(built)}
    with pytest.raises(SchemaVersionError, match="latentlake migrate"):
        built.lake.snapshot()
    migrate_lake(built.lake, built.settings)
    assert needs_migration(built.lake) is None
    assert {path: path.read_bytes() for path in shards(built)} == before
    assert built.lake.read("clusters")["silhouette"].null_count == 80
    assert built.run().changed
    assert problems(built) == ""
    seen, expected = (dump(each, each.lake.snapshot()) for each in (built, anew))
    for view in ("clusters", "centroids", "anomalies", "pairs", "paired", "neighbours"):
        assert seen[view] == expected[view]
    assert not built.run().changed


def test_a_shard_of_another_version_is_refused(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shards(built)[0]
    monkeypatch.setattr("data.shards.SHARD_VERSION", 2)
    with pytest.raises(ShardError, match="schema version 1, this code reads 2"):
        read_footer(path)


def test_a_lake_of_version_1_gets_its_new_column_and_keeps_its_shards(built: Project) -> None:
    from deltalake import DeltaTable, write_deltalake

    expected, held = dump(built, built.lake.snapshot()), shards(built)
    files = built.lake.delta("tables/files")
    assert files is not None
    rows = built.lake.read("files").drop_columns(["etag"])
    write_deltalake(files, rows, mode="overwrite", schema_mode="overwrite")
    for folder in built.lake.table_folders():
        table = DeltaTable(str(built.lake.root / folder))
        table.alter.set_table_description(describe_version(1))
    with pytest.raises(SchemaVersionError, match="version 1, this code reads 5"):
        built.lake.upsert("runs", table_of("runs", [{"run_id": "r"}]), "r")
    migrate_lake(built.lake, built.settings)
    assert dump(built, built.lake.snapshot()) == expected
    assert shards(built) == held
    assert list(verify_lake(built.lake)) == []
    assert not built.run().changed


def test_a_migration_that_is_killed_anywhere_goes_on(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import data.maintenance.migrating as module

    expected = dump(built, built.lake.snapshot())
    age(built)
    original = module._raise_version
    calls = iter(range(1000))

    def killed(lake: Lake, folder: str, run_id: str) -> None:
        if next(calls) % 3 == 2:
            raise KeyboardInterrupt
        original(lake, folder, run_id)

    monkeypatch.setattr(module, "_raise_version", killed)
    for _ in range(50):
        steps = needs_migration(built.lake)
        if steps is None:
            break
        try:
            migrate_lake(built.lake, built.settings)
        except KeyboardInterrupt:
            continue
    assert needs_migration(built.lake) is None
    assert dump(built, built.lake.snapshot()) == expected


def test_a_lake_of_a_newer_version_is_refused(built: Project) -> None:
    path = built.folder / "lake/snapshots/000000000002.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 9, "news": 1}))
    with pytest.raises(SchemaVersionError, match="update this one"):
        built.lake.snapshot()


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


def test_a_lake_of_version_4_gets_scores(built: Project) -> None:
    from deltalake import DeltaTable, write_deltalake

    items = built.lake.read("items")["item_id"].to_pylist()[:2]
    row = {"space": "words", "item_id": items[0], "twin_id": items[1], "similarity": 0.75}
    rows = table_of("duplicates", [row]).drop_columns(["score"])
    table = built.lake.delta("tables/duplicates")
    assert table is not None
    write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite", partition_by=["space"])
    for folder in built.lake.table_folders():
        place = DeltaTable(str(built.lake.root / folder))
        place.alter.set_table_description(describe_version(4))
    migrate_lake(built.lake, built.settings)
    (found,) = built.lake.read("duplicates").to_pylist()
    assert (found["item_id"], found["score"], found["similarity"]) == (items[0], 0.75, 0.75)
