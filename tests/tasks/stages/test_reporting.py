"""Index, graph and reports of a small lake, against brute force and against their own promises."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pytest

from data.catalog import connect
from latentlake.errors import ConfigError, SpaceMismatchError
from tasks.stages.builds import last_build
from tasks.stages.indexing import index_space, stored_index
from tasks.stages.reporting import report_space
from tasks.stages.spaces import known_space, space_vectors
from tasks.stages.stored_graph import stored_graph

if TYPE_CHECKING:
    from models.types import Matrix
    from tests.tasks.conftest import Project


def unit_vectors(project: Project) -> tuple[list[str], Matrix]:
    space = known_space(project.lake, "words")
    found = space_vectors(project.lake, project.settings, space)
    matrix = np.concatenate(list(found.batches(1000)))
    ids: list[str] = found.content_ids.to_pylist()
    return ids, matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def add_copies(project: Project) -> None:
    """An exact copy, a near copy, and an exact copy of the near copy."""
    notes = project.read_notes()
    first = next(iter(notes))
    notes["exact"] = notes[first]
    notes["near"] = notes[first] + " Indeed."
    notes["near2"] = notes["near"]
    project.write_notes(notes)


def test_the_graph_is_brute_force_s(project: Project) -> None:
    project.run()
    ids, matrix = unit_vectors(project)
    similarities = matrix @ matrix.T
    np.fill_diagonal(similarities, -np.inf)
    for row in project.lake.read("neighbours").to_pylist():
        own = ids.index(row["content_id"])
        expected = np.sort(similarities[own])[::-1][:5]
        np.testing.assert_allclose(row["similarities"], expected, atol=1e-5)
        named = [similarities[own, ids.index(other)] for other in row["neighbours"]]
        np.testing.assert_allclose(named, row["similarities"], atol=1e-5)


def test_the_graph_reads_back_as_it_was_built(project: Project) -> None:
    project.run()
    space = known_space(project.lake, "words")
    vectors = space_vectors(project.lake, project.settings, space)
    graph = stored_graph(project.lake, space, vectors)
    assert graph.rows.shape == (80, 5)
    _, matrix = unit_vectors(project)
    expected = np.take_along_axis(matrix @ matrix.T, graph.rows, axis=1)
    np.testing.assert_allclose(graph.similarities, expected, atol=1e-5)


def test_every_removed_item_has_a_kept_twin_within_the_threshold(project: Project) -> None:
    add_copies(project)
    project.run()
    rows = project.lake.read("duplicates").to_pylist()
    removed = {row["item_id"] for row in rows}
    items = {row["item_id"]: row for row in project.lake.read("items").to_pylist()}
    by_key = {row["key"]: row["item_id"] for row in items.values()}
    assert {by_key["exact"]} < removed | {row["twin_id"] for row in rows}
    ids, matrix = unit_vectors(project)
    position = {content: n for n, content in enumerate(ids)}
    for row in rows:
        assert row["twin_id"] not in removed
        assert row["rule"] == "greedy-cover"
        one, other = (items[row[name]]["content_id"] for name in ("item_id", "twin_id"))
        similarity = float(matrix[position[one]] @ matrix[position[other]])
        if row["kind"] in ("exact", "semantic"):  # of others it is that of their wording
            assert similarity == pytest.approx(row["similarity"], abs=1e-4)
        assert row["similarity"] >= row["threshold"] - 1e-6
        assert (row["kind"] == "exact") == (one == other)
    copies = {by_key[key] for key in ("exact", "near", "near2")}
    assert len(copies - removed) <= 1
    kept = [i for i, row in items.items() if i not in removed and row["source"] == "notes"]
    contents = [position[items[item]["content_id"]] for item in kept]
    among = matrix[contents] @ matrix[contents].T
    np.fill_diagonal(among, -1)
    assert among.max() < 0.98


def test_the_keep_policy_decides_who_stays(project: Project) -> None:
    add_copies(project)
    config = project.folder / "latentlake.toml"
    policy = '[spaces.duplicates]\nkeep = "text_length asc"\n[run]'
    config.write_text(config.read_text("utf-8").replace("[run]", policy), "utf-8")
    project.run()
    items = {row["item_id"]: row for row in project.lake.read("items").to_pylist()}
    for row in project.lake.read("duplicates").to_pylist():
        lengths = [items[row[name]]["text_length"] for name in ("twin_id", "item_id")]
        assert lengths == sorted(lengths)


def test_a_keep_policy_that_is_no_sql_is_a_clear_error(project: Project) -> None:
    project.run()
    config = project.folder / "latentlake.toml"
    policy = '[spaces.duplicates]\nkeep = "no_such_column desc"\n[run]'
    config.write_text(config.read_text("utf-8").replace("[run]", policy), "utf-8")
    with pytest.raises(ConfigError, match="no_such_column"):
        report_space(project.lake, project.settings, "words", "duplicates", "r")


def test_clusters_partition_the_space(project: Project) -> None:
    project.run()
    clusters = project.lake.read("clusters").to_pylist()
    summary = project.lake.read("cluster_summary").to_pylist()
    assert len(clusters) == 80
    sizes = {row["cluster_id"]: row["size"] for row in summary}
    counted = {c: sum(row["cluster_id"] == c for row in clusters) for c in sizes}
    assert counted == sizes
    medoids = {row["content_id"]: row["cluster_id"] for row in clusters if row["is_medoid"]}
    assert {row["medoid"]: row["cluster_id"] for row in summary} == medoids
    for row in summary:
        assert row["terms"]


def test_anomalies_rank_every_content_once(project: Project) -> None:
    project.run()
    rows = project.lake.read("anomalies").to_pylist()
    assert sorted(row["rank"] for row in rows) == list(range(1, 81))
    best = sorted(rows, key=lambda row: row["rank"])
    percentiles = [row["percentile"] for row in best]
    assert percentiles == sorted(percentiles, reverse=True)
    for row in rows:
        mean = (row["knn_percentile"] + row["mahalanobis_percentile"]) / 2
        assert row["percentile"] == pytest.approx(mean, abs=1e-3)
    known = {row["content_id"] for row in rows}
    assert all(set(row["normal_neighbours"]) <= known for row in rows)


def test_the_index_states_its_recall_and_keeps_older_versions(project: Project) -> None:
    project.run()
    space = known_space(project.lake, "words")
    first = last_build(project.lake, "index", space)
    assert first is not None
    details = json.loads(first["details"])
    assert details["recall_low"] <= details["recall"] <= details["recall_high"]
    notes = project.read_notes()
    notes["added"] = "a proof of the theorem about the group"
    project.write_notes(notes)
    assert project.run().changed
    second = last_build(project.lake, "index", space)
    assert second is not None
    paths = {json.loads(build["details"])["path"] for build in (first, second)}
    assert len(paths) == 2
    assert all((project.lake.root / path / "index.faiss").is_file() for path in paths)
    stored = stored_index(project.lake, space)
    assert stored is not None
    assert stored[0].rows == len(stored[1]) == 81
    older = stored_index(project.lake, space, project.lake.snapshot(1))
    assert older is not None
    assert older[0].rows == 80


def test_deleted_items_leave_every_view_with_the_next_run(project: Project) -> None:
    project.run()
    notes = project.read_notes()
    gone = next(iter(notes))
    del notes[gone]
    project.write_notes(notes)
    content = next(
        row["content_id"] for row in project.lake.read("items").to_pylist() if row["key"] == gone
    )
    project.run()
    with connect(project.lake) as connection:
        for view in ("items", "embeddings_words", "neighbours", "clusters", "anomalies"):
            found = connection.execute(
                f"SELECT count(*) FROM {view} WHERE content_id = ?",
                [content],
            ).fetchone()
            assert found == (0,), view
        left = connection.execute(
            "SELECT count(*) FROM neighbours WHERE list_contains(neighbours, ?)", [content]
        ).fetchone()
    assert left == (0,)


def test_stages_refuse_a_space_of_another_encoder(project: Project) -> None:
    project.run()
    config = project.folder / "latentlake.toml"
    config.write_text(config.read_text("utf-8").replace("dim = 16", "dim = 8"), "utf-8")
    with pytest.raises(SpaceMismatchError, match="words"):
        index_space(project.lake, project.settings, "words", "r")


def test_a_lake_with_one_item_goes_through_all_stages(project: Project) -> None:
    project.write_notes({"only": "a single note about a single word and a single word"})
    for path in (project.folder / "photos").iterdir():
        path.unlink()
    summary = project.run()
    assert summary.changed
    assert not summary.errors
    assert project.lake.read("anomalies", where=pc.field("space") == "words").num_rows == 1
