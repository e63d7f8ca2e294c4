"""The maintenance commands as a user types them, on a real small lake."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from data.shards import shard_paths
from latentlake.cli.main import cli
from tasks.stages.spaces import known_space
from tests.tasks.conftest import Project, copy_of, make_project

if TYPE_CHECKING:
    from click.testing import Result


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    made = make_project(tmp_path_factory.mktemp("commands") / "project", samples)
    made.run()
    notes = made.read_notes()
    made.write_notes(notes | {"new": "Galaxies merge and their dark matter halos merge too."})
    made.run()
    return made.folder


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Project:
    return copy_of(built_once, tmp_path / "project")


def call(project: Project, *arguments: str) -> Result:
    config = str(project.folder / "latentlake.toml")
    return CliRunner().invoke(cli, [*arguments, "--config", config])


def rows(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = call(project, *arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


COUNT = "SELECT count(*) AS n FROM items WHERE source = 'notes'"


def test_every_read_command_takes_a_state(built: Project) -> None:
    first = built.lake.snapshot(1).run_id
    now = rows(built, "sql", COUNT)[0]["n"]
    assert rows(built, "sql", COUNT, "--as-of", "1")[0]["n"] == now - 1
    assert rows(built, "sql", COUNT, "--as-of", first)[0]["n"] == now - 1
    assert rows(built, "sql", COUNT, "--as-of", "2100-01-01")[0]["n"] == now
    assert rows(built, "status", "--as-of", "1")[0]["snapshot"] == 1
    for command in ("duplicates", "clusters", "anomalies"):
        assert isinstance(rows(built, command, "--as-of", "1"), list)
    hits = rows(built, "search", "dark matter of galaxies", "-k", "3", "--as-of", "1")
    assert len(hits) == 3
    assert "notes.jsonl#new" not in {hit["uri"] for hit in hits}
    wrong = call(built, "sql", COUNT, "--as-of", "7")
    assert wrong.exit_code == 1
    assert "no snapshot 7. Kept: 1 of" in wrong.output


def test_vacuum_only_says_what_would_go_unless_told(built: Project) -> None:
    files = sorted((built.folder / "lake").rglob("*"))
    planned = call(built, "vacuum", "--keep-runs", "1", "--grace-hours", "0")
    assert planned.exit_code == 0
    assert "--yes does it" in planned.output
    assert sorted((built.folder / "lake").rglob("*")) == files
    removed = rows(built, "vacuum", "--keep-runs", "1", "--grace-hours", "0", "--yes")
    assert removed[0] == {
        "kind": "snapshot",
        "path": "snapshots/000000000001.json",
        "size_bytes": removed[0]["size_bytes"],
    }
    assert not any((built.folder / "lake" / row["path"]).exists() for row in removed)
    assert rows(built, "verify") == []
    assert "Nothing to remove" in call(built, "vacuum", "--grace-hours", "0").output


def test_verify_tells_and_mends(built: Project) -> None:
    sound = call(built, "verify")
    assert (sound.exit_code, "The lake is sound." in sound.output) == (0, True)
    shard = Path(shard_paths(built.lake, known_space(built.lake, "words").id)[0])
    shard.unlink()
    told = call(built, "verify", "--format", "json")
    assert told.exit_code == 1
    assert any(row["problem"] == "the file is missing" for row in json.loads(told.stdout))
    mended = call(built, "verify", "--mend")
    assert mended.exit_code == 1
    assert "run 'latentlake run'" in mended.output
    built.run()
    assert call(built, "sql", "SELECT count(*) FROM embeddings_words").exit_code == 0
    assert call(built, "verify", "--mend", "--as-of", "1").exit_code == 2


def test_compact_and_restore_make_snapshots(built: Project) -> None:
    done = call(built, "compact", "--shard-rows", "500")
    assert (done.exit_code, "Snapshot 3." in done.output) == (0, True), done.output
    assert "stays at snapshot 3" in call(built, "compact", "--shard-rows", "500").output
    count = rows(built, "sql", COUNT)[0]["n"]
    assert "Snapshot 4." in call(built, "restore", "1").output
    assert rows(built, "sql", COUNT)[0]["n"] == count - 1
    assert "Snapshot 5." in call(built, "restore", "3").output
    assert rows(built, "sql", COUNT)[0]["n"] == count
    assert rows(built, "verify") == []
    assert "Nothing to migrate." in call(built, "migrate").output


def test_exports_agree_in_every_format(built: Project, tmp_path: Path) -> None:
    for name in ("w.parquet", "w.arrow", "w.csv", "w.json", "w.npy"):
        done = call(built, "export", "words", "--to", str(tmp_path / name))
        assert done.exit_code == 0, done.output
    table = pq.read_table(tmp_path / "w.parquet")
    ids = table["content_id"].to_pylist()
    matrix = np.load(tmp_path / "w.npy")
    assert (tmp_path / "w.ids.txt").read_text().splitlines() == ids
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), matrix)
    assert pyarrow.ipc.open_file(tmp_path / "w.arrow").read_all().equals(table)
    found = json.loads((tmp_path / "w.json").read_text())
    assert [row["content_id"] for row in found] == ids
    np.testing.assert_array_equal(np.array(found[0]["vector"], np.float32), matrix[0])
    with (tmp_path / "w.csv").open() as file:
        assert [row["content_id"] for row in csv.DictReader(file)] == ids


def test_tables_are_exported_as_of_a_state(built: Project, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    assert call(built, "export", "items", "--to", str(path), "--as-of", "1").exit_code == 0
    assert (
        len(json.loads(path.read_text()))
        == built.lake.read("items", snapshot=built.lake.snapshot(1)).num_rows
    )
    assert "Did you mean 'items'" in call(built, "export", "itms", "--to", str(path)).output
    refused = call(built, "export", "items", "--to", str(tmp_path / "items.txt"))
    assert (refused.exit_code, "choose a --format" in refused.output) == (2, True)
