"""After any sequence of batches the lake is what a rebuilt one would be."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import rankdata

from models.analysis.graph import GraphOptions
from tasks.parameters import ALL_REPORTS
from tasks.stages.builds import last_build
from tasks.stages.indexing import index_space, stored_index
from tasks.stages.neighbours import link_neighbours
from tasks.stages.reporting import report_space
from tasks.stages.spaces import known_space, space_vectors
from tasks.stages.stored_graph import stored_graph

if TYPE_CHECKING:
    from tests.tasks.conftest import Project

BATCHES = [
    ("some new", range(60, 70), ()),
    ("some gone", (), range(3)),
    ("some of both, some returned", [*range(70, 75), 2], (20, 61)),
    ("one returned", (0,), ()),
]


def shrink_to(project: Project, notes: dict[str, str]) -> None:
    project.write_notes(notes)
    summary = project.run()
    assert not summary.errors


def details_of(project: Project, stage: str) -> dict[str, Any]:
    build = last_build(project.lake, stage, known_space(project.lake, "words"))
    assert build is not None
    details: dict[str, Any] = json.loads(build["details"])
    return details


def near_copies(notes: dict[str, str]) -> dict[str, str]:
    """Make every fifth note a near-copy of the one before, so that covers have work."""
    made: dict[str, str] = {}
    for number, (key, text) in enumerate(notes.items()):
        made[key] = f"{list(made.values())[-1]} again" if number % 5 == 4 else text
    return made


def kept_pairs(project: Project) -> set[tuple[str, str]]:
    rows = project.lake.read("duplicates").to_pylist()
    return {(row["item_id"], row["twin_id"]) for row in rows}


def assert_graph_is_exact(project: Project) -> None:
    space = known_space(project.lake, "words")
    vectors = space_vectors(project.lake, project.settings, space)
    matrix = np.concatenate(list(vectors.batches(1000))).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    similarities = matrix @ matrix.T
    np.fill_diagonal(similarities, -np.inf)
    graph = stored_graph(project.lake, space, vectors)
    k = min(5, vectors.rows - 1)
    best = -np.sort(-similarities, axis=1)[:, :k]
    np.testing.assert_allclose(graph.similarities, best, atol=1e-5)
    named = np.take_along_axis(similarities, graph.rows, axis=1)
    np.testing.assert_allclose(named, best, atol=1e-5)
    assert all(len(set(row)) == k for row in graph.rows.tolist())


def derive_anew(project: Project, name: str) -> set[tuple[str, str]]:
    """Derive everything from the same vectors in a lake that has no earlier results."""
    lake, settings = project.lake, project.settings
    for table in ("builds", "pairs", "paired", "duplicates", "neighbours"):
        place = lake.root / "tables" / table
        place.rename(place.with_name(f"_{table}-{name}"))
    for step in (index_space, link_neighbours):
        step(lake, settings, "words", name)
    for report in ALL_REPORTS:
        report_space(lake, settings, "words", report, name)
    return kept_pairs(project)


def test_batches_leave_what_one_build_would(project: Project) -> None:
    notes = near_copies(project.read_notes())
    keys = list(notes)
    present = dict.fromkeys(keys[:60])
    shrink_to(project, {key: notes[key] for key in present})
    trained = details_of(project, "index")["trained_rows"]
    for name, added, removed in BATCHES:
        present |= dict.fromkeys(keys[number] for number in added)
        for number in removed:
            del present[keys[number]]
        shrink_to(project, {key: notes[key] for key in present})
        assert_graph_is_exact(project)
        assert details_of(project, "graph")["update"].startswith("updated"), name
        assert details_of(project, "index")["update"].startswith("extended"), name
        assert details_of(project, "clusters")["update"].startswith("assigned"), name
        assert details_of(project, "index")["trained_rows"] == trained
        assert details_of(project, "pairs")["searched"] <= len(tuple(added))
    step_by_step = kept_pairs(project)
    assert step_by_step
    assert derive_anew(project, "anew") == step_by_step
    assert details_of(project, "index")["update"].startswith("trained")


def stored(project: Project, table: str) -> dict[str, dict[str, Any]]:
    return {row["content_id"]: row for row in project.lake.read(table).to_pylist()}


def vectors_by_content(project: Project) -> dict[str, Any]:
    space = known_space(project.lake, "words")
    vectors = space_vectors(project.lake, project.settings, space)
    matrix = np.concatenate(list(vectors.batches(1000))).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return dict(zip(vectors.content_ids.to_pylist(), matrix, strict=True))


def assert_clusters_are_nearest(project: Project) -> None:
    rows, vectors = stored(project, "clusters"), vectors_by_content(project)
    assert rows.keys() == vectors.keys()
    centres = project.lake.read("centroids").sort_by("cluster_id")["centroid"].to_pylist()
    for content, row in rows.items():
        distances = np.sort(1 - np.array(centres) @ vectors[content])
        own = 1 - np.dot(centres[row["cluster_id"]], vectors[content])
        assert own == pytest.approx(distances[0], abs=1e-5)
        assert row["distance"] == pytest.approx(own, abs=1e-5)
        expected = 1 - own / distances[1]
        assert row["silhouette"] == pytest.approx(expected, abs=1e-3)
    for summary in project.lake.read("cluster_summary").to_pylist():
        members = [row for row in rows.values() if row["cluster_id"] == summary["cluster_id"]]
        nearest = min(row["distance"] for row in members)
        assert rows[summary["medoid"]]["distance"] == nearest
        assert summary["size"] == len(members)
        mean = np.mean([row["silhouette"] for row in members]) if len(members) > 1 else 0
        assert summary["quality"] == pytest.approx(mean, abs=1e-5)


def assert_anomalies_are_by_the_fit(project: Project) -> None:
    rows, vectors = stored(project, "anomalies"), vectors_by_content(project)
    fit = project.lake.read("detector_fits").sort_by("component")["coefficients"].to_pylist()
    mean, whitening = np.array(fit[0]), np.array(fit[1:])
    lists = stored(project, "neighbours")
    assert rows.keys() == vectors.keys()
    for content, row in rows.items():
        score = np.square(whitening @ (vectors[content] - mean)).sum()
        assert row["mahalanobis"] == pytest.approx(score, rel=1e-3)
        near = np.mean([1 - one for one in lists[content]["similarities"]])
        assert row["knn_distance"] == pytest.approx(near, abs=1e-5)
    for score, percentile in (
        ("knn_distance", "knn_percentile"),
        ("mahalanobis", "mahalanobis_percentile"),
    ):
        ranks = rankdata([row[score] for row in rows.values()])
        expected = 100 * (ranks - 1) / (len(rows) - 1)
        np.testing.assert_allclose([row[percentile] for row in rows.values()], expected, atol=1e-3)
    by_rank = sorted(rows.values(), key=lambda row: row["rank"])
    assert [row["rank"] for row in by_rank] == list(range(1, len(rows) + 1))
    means = [row["percentile"] for row in by_rank]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("seed", range(2))
def test_any_history_leaves_what_its_vectors_say(project: Project, seed: int) -> None:
    random = np.random.default_rng(seed)
    notes = near_copies(project.read_notes())
    keys = list(notes)
    present = {key: notes[key] for key in keys[:60]}
    shrink_to(project, present)
    updates = []
    for _ in range(4):
        gone = [key for key in keys if key not in present]
        for key in random.choice(list(present), 1):
            del present[key]
        for key in random.choice(list(present), 1):
            present[key] += " This version has been corrected."
        for key in random.choice(gone, 1):  # never seen before, or returned
            present[key] = notes[key]
        shrink_to(project, present)
        assert_graph_is_exact(project)
        assert_clusters_are_nearest(project)
        assert_anomalies_are_by_the_fit(project)
        updates.append(details_of(project, "anomalies")["update"].partition(":")[0])
    assert updates == ["scored", "fitted"] * 2  # each step changes 4 of 60 contents
    names = ("first", "second", "similarity")
    tables = [project.lake.read("pairs").select(names).to_pylist()]
    kept, near = kept_pairs(project), stored(project, "anomalies")
    assert derive_anew(project, "anew") == kept
    tables.append(project.lake.read("pairs").select(names).to_pylist())
    one, other = ({tuple(sorted(map(str, row.values()))) for row in rows} for rows in tables)
    assert one == other
    anew = stored(project, "anomalies")
    found, expected = ([rows[key]["knn_distance"] for key in sorted(rows)] for rows in (near, anew))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_recall_is_measured_again_when_a_tenth_has_changed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    through_the_index = partial(GraphOptions, exact_flops=0.0)
    monkeypatch.setattr("tasks.stages.neighbours.GraphOptions", through_the_index)
    monkeypatch.setattr("models.indexes.filtered.SHARE", 0.5)  # of so few, a tenth is too few
    notes = project.read_notes()
    keys = list(notes)
    shrink_to(project, {key: notes[key] for key in keys[:60]})
    assert not details_of(project, "graph")["exact"]
    seen = []
    for first, last in ((2, 61), (4, 62), (5, 63)):  # 3, 3 and 2 contents come or go
        shrink_to(project, {key: notes[key] for key in keys[first:last]})
        index, graph = (details_of(project, stage) for stage in ("index", "graph"))
        seen.append((index["measured_rows"], index["changes_since"]))
        assert index["filtered"]["queries"] == index["measured_rows"]
        assert (graph["measured"]["rows"], graph["measured"]["changes_since"]) == seen[-1]
        assert graph["update"].startswith("updated")
        assert graph_recall(project) > 0.99
    assert seen == [(60, 3), (60, 6), (58, 0)]


def graph_recall(project: Project) -> float:
    """Return what share of the stored neighbours are as near as brute force's."""
    space = known_space(project.lake, "words")
    vectors = space_vectors(project.lake, project.settings, space)
    matrix = np.stack(list(vectors_by_content(project).values()))
    similarities = matrix @ matrix.T
    np.fill_diagonal(similarities, -np.inf)
    graph = stored_graph(project.lake, space, vectors)
    least = -np.sort(-similarities, axis=1)[:, graph.k - 1]
    named = np.take_along_axis(similarities, graph.rows, axis=1)
    return float((named >= least[:, None] - 1e-6).mean())


def test_dead_rows_are_found_by_nobody_and_bring_no_new_file(project: Project) -> None:
    project.run()
    before = details_of(project, "index")["path"]
    notes = project.read_notes()
    for key in list(notes)[:10]:
        del notes[key]
    shrink_to(project, notes)
    details = details_of(project, "index")
    assert (details["path"], details["dead"], details["rows"]) == (before, 10, 80)
    space = known_space(project.lake, "words")
    stored = stored_index(project.lake, space)
    assert stored is not None
    assert len(stored[1]) == 80


def test_too_many_dead_rows_have_the_index_built_anew(project: Project) -> None:
    project.run()
    notes = project.read_notes()
    shrink_to(project, dict(list(notes.items())[:50]))
    details = details_of(project, "index")
    assert details["dead"] == 0
    assert "dead" in details["update"]
    assert details_of(project, "clusters")["update"].startswith("fitted")
    assert_graph_is_exact(project)


def test_a_lost_index_costs_time_and_nothing_else(project: Project) -> None:
    notes = near_copies(project.read_notes())
    keys = list(notes)
    shrink_to(project, {key: notes[key] for key in keys[:70]})
    root = project.lake.root
    (root / details_of(project, "index")["path"] / "index.faiss").unlink()
    shrink_to(project, notes)
    assert_graph_is_exact(project)
    kept = kept_pairs(project)
    assert derive_anew(project, "anew") == kept


def test_a_space_of_a_table_is_replaced_whole_even_by_nothing(project: Project) -> None:
    project.run()
    lake = project.lake
    rows = lake.read("clusters")
    assert rows.num_rows == 80
    other = rows.drop_columns(["space"]).append_column("space", [["other"] * 80])
    lake.replace_space("clusters", "other", other.select(rows.column_names), "r")
    lake.replace_space("clusters", "words", rows.slice(0, 0), "r")
    assert set(lake.read("clusters")["space"].to_pylist()) == {"other"}
