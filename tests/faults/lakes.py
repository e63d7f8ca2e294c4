"""What every test of faults compares: a lake's whole state, its leftovers, and each snapshot."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from data.catalog import connect, current_spaces, space_versions
from data.leftovers import LEFTOVERS
from data.schemas import TABLES
from data.shards import shard_paths
from data.stores import LocalStore, readable
from tasks.stages.indexing import stored_index
from tasks.stages.runs import RunSummary, writing
from tests.tasks.conftest import CONFIG, Project, age

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from data.lake import Lake, Snapshot

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data" / "samples"

# What two runs over the same sources may differ in: who ran, when, how long, in how many steps.
_VARIES = {
    "items": {"first_run", "last_run", "modified_at"},
    "files": {"scanned_ns", "modified_ns"},
    "quarantine": {"run_id", "recorded_at"},
    "spaces": {"run_id", "recorded_at"},
    "builds": {"run_id", "recorded_at", "seconds"},
    "duplicates": {"run_id"},
    "runs": set(TABLES["runs"].columns.names) - {"command", "config_hash", "parent_snapshot"},
}


def make_project(folder: Path, root: str = "lake") -> Project:
    """80 abstracts in shards of 32, one text no encoder takes, photos with a twin and a wreck."""
    made = Project(folder)
    photos = folder / "photos"
    photos.mkdir(parents=True)
    (folder / "latentlake.toml").write_text(CONFIG.replace('"lake"', f'"{root}"', 1), "utf-8")
    pictures = sorted((SAMPLES / "photos" / "hat").iterdir())
    for path in pictures[:5]:
        shutil.copy2(path, photos / path.name)
    shutil.copy2(pictures[0], photos / "twin.jpg")
    (photos / "wreck.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    age(photos / "wreck.jpg")
    notes: dict[str, str] = {}
    with gzip.open(SAMPLES / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in islice(lines, 80):
            row = json.loads(line)
            notes[row["arxiv_id"]] = row["abstract"]
    made.write_notes(notes | {"wordless": "!!! ???"})
    return made


def change_sources(project: Project) -> None:
    """Each kind of change at once: new, changed, gone, moved and healed."""
    notes = project.read_notes()
    first, second, third = list(notes)[:3]
    del notes[first]
    notes[second] = notes[second] + " " + notes[third]
    project.write_notes(notes | {"new": notes[third][:400]})
    photos = project.folder / "photos"
    (photos / "twin.jpg").rename(photos / "moved.jpg")
    shutil.copy2(next((SAMPLES / "photos" / "hat").iterdir()), photos / "wreck.jpg")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a lake is made of, and how that changes.

    Attributes:
        make: makes a project in a folder, whose lake has a root.
        change: changes its sources.
    """

    make: Callable[[Path, str], Project]
    change: Callable[[Project], None]


TEXTS = Sources(make_project, change_sources)


def change_model(project: Project, dim: int) -> None:
    """Configure another version of the space."""
    path = project.folder / "latentlake.toml"
    changed = re.sub(r"dim = \d+", f"dim = {dim}", path.read_text("utf-8"))
    path.write_text(changed, "utf-8")


def run_whole(project: Project) -> RunSummary:
    """Run the pipeline as the flow does, in its turn, without Prefect."""
    with writing(project.lake, "pipeline"):
        return project.run()


def state_of(lake: Lake) -> dict[str, Any]:
    """Return all that a lake's last snapshot holds, in a form that compares by `==`."""
    snapshot = lake.snapshot()
    tables = {
        name: sorted(json.dumps(_kept(name, row), sort_keys=True, default=str) for row in rows)
        for name in TABLES
        if (rows := lake.read(name, snapshot=snapshot).to_pylist())
    }
    return {"snapshots": lake.snapshots(), "vectors": _vectors(lake, snapshot), **tables}


def _kept(name: str, row: dict[str, Any]) -> dict[str, Any]:
    kept = {column: value for column, value in row.items() if column not in _VARIES.get(name, ())}
    if name == "builds":
        details = json.loads(kept["details"])
        details.pop("path", None)  # an index's folder is named by its run
        kept["details"] = details
    return kept


def _vectors(lake: Lake, snapshot: Snapshot) -> dict[str, list[tuple[str, str]]]:
    """Return every registered vector as (content, bits); a doubled one shows as a second entry."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, space in current_spaces(lake, snapshot).items():
        rows: list[tuple[str, str]] = []
        for path in shard_paths(lake, space.id, snapshot):
            table = pq.read_table(readable(path))
            vectors = table["vector"].combine_chunks().flatten().to_numpy()
            bits = vectors.reshape(-1, space.id.dim)
            rows += [
                (content, bits[i].tobytes().hex())
                for i, content in enumerate(table["content_id"].to_pylist())
            ]
        found[name] = sorted(rows)
    return found


def orphans(lake: Lake) -> list[str]:
    """Return the files that neither a table names nor `vacuum` would find.

    What `vacuum` is for is left out: data files and index folders of commits that came to nothing.
    """
    held = [found.name for found in lake.store.files("")]
    if isinstance(lake.store, LocalStore):
        left = [path for pattern in LEFTOVERS for path in lake.root.glob(pattern)]
        found = {n for n in held if any((lake.root / n).is_relative_to(path) for path in left)}
    else:  # objects have no temporary names
        found = {name for name in held if name.startswith("work/")}
    found |= {name for name in held if name.startswith("undo")}
    models = {row["artefact"] for row in lake.read("spaces").to_pylist()}
    found |= {
        name
        for name in held
        if name.startswith("models/") and "/".join(name.split("/")[:3]) not in models
    }
    named = {
        f"{space.id.folder}/{path.rpartition('/')[2]}"
        for space in space_versions(lake)
        for path in shard_paths(lake, space.id)
    }
    found |= {name for name in held if _is_shard(name)} - named
    return sorted(found)


def _is_shard(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "embeddings" and len(parts) == 4 and name.endswith(".parquet")


def check_snapshot(lake: Lake, number: int) -> None:
    """Read a snapshot whole, and hold its tables against each other."""
    snapshot = lake.snapshot(number)
    with connect(lake, snapshot) as connection:
        for name in (*TABLES, *(f"embeddings_{space}" for space in current_spaces(lake, snapshot))):
            connection.sql(f"SELECT * FROM {name}").to_arrow_table()
        for name, space in current_spaces(lake, snapshot).items():
            if not space.is_vocabulary:
                _check_space(connection, name)
        sizes = "SELECT cluster_id, count(*) FROM clusters GROUP BY ALL"
        wrong = f"({sizes} EXCEPT SELECT cluster_id, size FROM cluster_summary)"
        assert connection.sql(wrong).fetchall() == []
        lost = "SELECT item_id FROM duplicates EXCEPT SELECT item_id FROM items"
        assert connection.sql(lost).fetchall() == []
    for space in current_spaces(lake, snapshot).values():
        stored = stored_index(lake, space, snapshot)
        assert stored is not None
        indexed = stored[1].to_pylist()  # those of contents that have gone stay inside
        assert len(set(indexed)) == len(indexed)
        assert {row[0] for row in _contents(lake, snapshot, space.id.name)} <= set(indexed)


def _check_space(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    embedded = f"SELECT content_id FROM embeddings_{name}"
    rows = connection.sql(
        f"SELECT count(*), count(DISTINCT content_id) FROM ({embedded})"
    ).fetchall()
    assert rows[0][0] == rows[0][1] > 0
    for report in ("neighbours", "clusters", "anomalies"):
        own = f"SELECT content_id FROM {report} WHERE space = '{name}'"
        differ = f"({own} EXCEPT {embedded}) UNION ALL ({embedded} EXCEPT {own})"
        assert connection.sql(differ).fetchall() == [], report
        assert connection.sql(f"{own} GROUP BY ALL HAVING count(*) > 1").fetchall() == []


def _contents(lake: Lake, snapshot: Snapshot, space: str) -> list[tuple[str]]:
    with connect(lake, snapshot) as connection:
        found: list[tuple[str]] = connection.sql(
            f"SELECT content_id FROM embeddings_{space}"
        ).fetchall()
    return found


def check_tables_are_sound(lake: Lake) -> None:
    """Check that each table's files are there, as long as its log says."""
    for folder in lake.versions():
        table = lake.delta(folder)
        assert table is not None
        actions = table.get_add_actions(flatten=True)
        sizes = dict(
            zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True)
        )
        held = {found.name: found.size_bytes for found in lake.store.files(folder)}
        for path, size in sizes.items():
            assert held[f"{folder}/{path}"] == size
