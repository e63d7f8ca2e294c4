"""Lakes of older layouts are brought to the present one, and newer ones refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from data.catalog import space_versions
from data.lake import table_of
from data.maintenance.findings import ForgetBuilds
from data.maintenance.mending import mend
from data.shards import read_footer
from data.versions import describe_version
from latentlake.errors import SchemaVersionError, ShardError
from tasks.stages.maintaining import (
    migrate_lake,
    needs_migration,
)
from tasks.stages.runs import begin_run
from tasks.stages.verifying import verify_lake
from tests.tasks.conftest import Project
from tests.tasks.maintenance.conftest import dump, problems, shards

if TYPE_CHECKING:
    from pathlib import Path

    from data.catalog import SpaceRow
    from data.lake import Lake


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
