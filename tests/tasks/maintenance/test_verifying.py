"""Damage of every kind is found, told with a remedy, and mended."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.catalog import CATALOG_NAME, write_catalog
from data.lake import table_of
from data.maintenance.findings import ForgetBuilds
from data.maintenance.mending import mend
from data.shards import write_shard
from data.vectors import vectors_of
from models.indexes.vector_index import VectorIndex
from tasks.stages.maintaining import mend_lake
from tasks.stages.verifying import verify_lake
from tests.tasks.conftest import Project
from tests.tasks.maintenance.conftest import dump, index_file, problems, shards, words

if TYPE_CHECKING:
    from collections.abc import Callable


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
