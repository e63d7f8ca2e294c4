"""What a change in a source costs and leaves: seen through runs, views and searches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from data.catalog import connect, space_versions
from data.lake import table_of
from data.shards import shard_paths
from latentlake.errors import LakeError, SpaceMismatchError
from tasks.stages.indexing import index_space
from tasks.stages.reporting import report_space
from tasks.stages.searching import SearchQuery, search
from tasks.stages.spaces import known_space
from tests.tasks.conftest import Project, make_project

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from tasks.stages.receipts import StageReceipt
    from tasks.stages.runs import RunSummary

FILES = 4
DERIVED = ("index", "graph", "clusters", "anomalies")


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """Notes in four files, each with a near-copy of a note in the next, after a run."""
    made = make_project(tmp_path_factory.mktemp("changes") / "project", samples)
    notes = list(made.read_notes().items())[:60]
    (made.folder / "notes.jsonl").unlink()
    for number in range(FILES):
        part = dict(notes[number::FILES])
        part[f"copy {number}"] = f"{notes[(number + 1) % FILES][1]} again"
        write(made, f"{number}.jsonl", part)
    config = made.folder / "latentlake.toml"
    config.write_text(config.read_text("utf-8").replace('"notes.jsonl"', '"notes"'), "utf-8")
    made.run()
    return made.folder


@pytest.fixture
def project(built_once: Path, tmp_path: Path) -> Project:
    return Project(shutil.copytree(built_once, tmp_path / "project"))


def write(project: Project, name: str, notes: dict[str, str]) -> None:
    place = project.folder / "notes" / name
    place.parent.mkdir(exist_ok=True)
    lines = [json.dumps({"id": key, "text": text}) for key, text in notes.items()]
    place.write_text("\n".join(lines) + "\n", "utf-8")


def of(summary: RunSummary, stage: str) -> StageReceipt:
    return next(r for r in summary.receipts if r.stage == stage and r.subject != "photos")


def words(project: Project) -> SpaceRow:
    return known_space(project.lake, "words")


def shards(project: Project) -> dict[str, bytes]:
    return {path: Path(path).read_bytes() for path in shard_paths(project.lake, words(project).id)}


def told_of(project: Project) -> dict[str, set[str]]:
    """Every content or item that a view names, by view."""
    named = {
        "items": "SELECT content_id FROM items WHERE modality = 'text'",
        "embeddings": "SELECT content_id FROM embeddings_words",
        "neighbours": "SELECT content_id FROM neighbours",
        "neighbours.neighbours": "SELECT DISTINCT unnest(neighbours) FROM neighbours",
        "pairs": "SELECT first FROM pairs UNION SELECT second FROM pairs",
        "paired": "SELECT content_id FROM paired",
        "clusters": "SELECT content_id FROM clusters",
        "medoids": "SELECT medoid FROM cluster_summary",
        "anomalies": "SELECT content_id FROM anomalies",
        "normal": "SELECT DISTINCT unnest(normal_neighbours) FROM anomalies",
        "duplicates": "SELECT content_id FROM all_items WHERE item_id IN "
        "(SELECT item_id FROM duplicates UNION SELECT twin_id FROM duplicates)",
    }
    with connect(project.lake) as connection:
        return {
            view: {row[0] for row in connection.sql(query).fetchall()}
            for view, query in named.items()
        }


def contents_of(project: Project, file: str) -> set[str]:
    rows = project.lake.read("items").to_pylist()
    return {row["content_id"] for row in rows if row["file"] == file}


def test_a_moved_file_is_not_encoded_again(project: Project) -> None:
    before, told = shards(project), told_of(project)
    notes = project.folder / "notes"
    (notes / "1.jsonl").rename(notes / "moved.jsonl")
    summary = project.run()
    assert of(summary, "ingest").counts["moved"] == 16
    assert of(summary, "embed").counts["encoded"] == 0
    assert not any(of(summary, stage).changed for stage in DERIVED)
    assert shards(project) == before
    assert told_of(project) == told


def test_a_deleted_file_leaves_every_view_and_search_with_the_next_run(project: Project) -> None:
    gone = contents_of(project, "2.jsonl")
    assert all(seen & gone for seen in told_of(project).values())
    query = SearchQuery(text="galaxies and their dark matter", k=100)
    (project.folder / "notes" / "2.jsonl").unlink()
    summary = project.run()
    assert of(summary, "ingest").counts["vanished"] == 16
    left = {name: seen & gone for name, seen in told_of(project).items()}
    assert left == {name: set() for name in left}
    hits = search(project.lake, project.settings, query).hits
    uris = hits["uri"].to_pylist()
    assert len(uris) == 48
    assert not any(uri.startswith("2.jsonl") for uri in uris)


def test_a_returned_file_uses_its_old_vectors(project: Project) -> None:
    before, told = shards(project), told_of(project)
    place = project.folder / "notes" / "3.jsonl"
    text = place.read_text("utf-8")
    place.unlink()
    project.run()
    place.write_text(text, "utf-8")
    summary = project.run()
    assert of(summary, "ingest").counts["returned"] == 16
    assert of(summary, "embed").counts["encoded"] == 0
    assert shards(project) == before
    after = told_of(project)
    for exact in ("items", "embeddings", "neighbours", "pairs", "paired", "clusters", "anomalies"):
        assert after[exact] == told[exact]


def test_a_changed_text_is_encoded_alone(project: Project) -> None:
    notes = project.folder / "notes"
    lines = (notes / "0.jsonl").read_text("utf-8").splitlines()
    changed = json.loads(lines[3])
    changed["text"] += " Indeed, and more so than before."
    lines[3] = json.dumps(changed)
    (notes / "0.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    summary = project.run()
    assert of(summary, "ingest").counts["changed"] == 1
    assert of(summary, "embed").counts["encoded"] == 1
    new = contents_of(project, "0.jsonl") - {None}
    told = told_of(project)
    assert new <= told["clusters"] & told["anomalies"] & told["neighbours"] & told["paired"]


def test_another_encoder_version_makes_a_space_beside_the_old_one(project: Project) -> None:
    old, held = words(project), shards(project)
    config = project.folder / "latentlake.toml"
    config.write_text(config.read_text("utf-8").replace("dim = 16", "dim = 12"), "utf-8")
    with pytest.raises(SpaceMismatchError, match=old.id.fingerprint):
        index_space(project.lake, project.settings, "words", "run")
    project.embed("words")
    with pytest.raises(LakeError, match="neighbour graph is not of these vectors"):
        report_space(project.lake, project.settings, "words", "anomalies", "run")
    # A graph of the old version's under the new one's key is refused, and the refusal names both.
    new = next(v for v in space_versions(project.lake, "words") if v.is_waiting)
    (graph,) = (r for r in project.lake.read("builds").to_pylist() if r["stage"] == "graph")
    project.lake.upsert("builds", table_of("builds", [graph | {"space": new.key}]), "run")
    with pytest.raises(SpaceMismatchError) as mixed:
        report_space(project.lake, project.settings, "words", "anomalies", "run")
    assert f"graph has fingerprint {old.id.fingerprint}" in str(mixed.value)
    assert f"asks for {new.id.fingerprint}" in str(mixed.value)
    project.run()
    assert new.id.fingerprint != old.id.fingerprint
    assert {path: Path(path).read_bytes() for path in held} == held
    assert not set(shards(project)) & set(held)
    # The new space's index under the old one's name is refused, and the refusal names both.
    lake = project.lake
    builds = lake.read("builds").to_pylist()
    here = (row for row in builds if row["space"] == new.key)
    index = next(row for row in here if row["stage"] == "index")
    folder = lake.root / json.loads(index["details"])["path"]
    other = next(
        path
        for path in (lake.root / "indexes/words" / old.id.fingerprint).iterdir()
        if path.is_dir()
    )
    shutil.copy2(other / "index.faiss", folder / "index.faiss")
    with pytest.raises(SpaceMismatchError) as refused:
        search(lake, project.settings, SearchQuery(text="galaxies and their dark matter"))
    assert old.id.fingerprint in str(refused.value)
    assert new.id.fingerprint in str(refused.value)
