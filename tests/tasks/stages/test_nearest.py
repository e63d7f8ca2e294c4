"""`nearest` in SQL: by the index and by the scan, held against NumPy."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pytest

from data.catalog import CATALOG_NAME, connect
from latentlake.cli.reading import explain
from tasks.stages import nearest
from tasks.stages.indexing import INDEX_FILE
from tasks.stages.nearest import add_nearest
from tests.tasks.conftest import Project, make_project
from tests.tasks.stages.test_own_vectors import Own, clustered, named, similarities

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METRICS = ("cosine", "l2", "inner_product")
K = 7


@pytest.fixture(scope="module", params=METRICS)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Own:
    """A lake from which ten vectors went again, which its index still holds."""
    made = Own(tmp_path_factory.mktemp("own") / "own")
    made.configure(f'metric = "{request.param}"')
    vectors = named(clustered())
    if request.param != "inner_product":
        vectors["nowhere"] = np.zeros(clustered().shape[1], np.float32)
    made.put(vectors)
    made.run()
    made.put({key: row for number, (key, row) in enumerate(vectors.items()) if number >= 10})
    assert not made.run().errors
    return made


@contextmanager
def indexed(project: Project) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the index behind it."""
    with connect(project.lake) as connection:
        add_nearest(connection, project.lake, project.settings)
        yield connection


@contextmanager
def client(project: Project) -> Iterator[duckdb.DuckDBPyConnection]:
    """Any DuckDB client with the lake's catalog."""
    path = project.lake.root / CATALOG_NAME
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


BY = "SELECT key, n.similarity FROM nearest('own', {}, {}) n JOIN items USING (content_id)"


def agrees(found: list[tuple[str, float]], own: Own, query: np.ndarray, leaving: str = "") -> None:
    """Compare with NumPy; which of two nearly equal contents is nearer is left open."""
    (metric,) = {row["metric"] for row in own.sql("SELECT metric FROM spaces")}
    stored = {key: row for key, row in own.stored().items() if key != leaving}
    with np.errstate(invalid="ignore"):
        matrix = np.array(list(stored.values()), np.float32)
        scores = np.nan_to_num(similarities(query[None], matrix, metric)[0])
    truth = dict(zip(stored, scores.tolist(), strict=True))
    assert len(found) == len({key for key, _ in found}) == K
    assert [one for _, one in found] == pytest.approx(
        sorted(truth.values())[: -K - 1 : -1], abs=1e-5, rel=1e-5
    )
    assert [truth[key] for key, _ in found] == pytest.approx(
        [one for _, one in found], abs=1e-5, rel=1e-5
    )


@pytest.mark.parametrize("opened", [indexed, client])
def test_a_vector_s_neighbours_are_those_of_numpy(own: Own, opened: Any) -> None:
    query = np.random.default_rng(5).normal(size=12).astype(np.float32)
    with opened(own) as connection:
        sql = BY.format("$1", "$2") + " ORDER BY n.similarity DESC"
        found = connection.execute(sql, [query.tolist(), K]).fetchall()
    agrees(found, own, query)


@pytest.mark.parametrize("opened", [indexed, client])
def test_an_item_is_no_neighbour_of_its_own(own: Own, opened: Any) -> None:
    with opened(own) as connection:
        rows = connection.execute("SELECT key, item_id FROM items WHERE key IN ('k20', 'k33')")
        for key, item in rows.fetchall():
            sql = BY.format(f"'{item}'", f"k := {K}") + " ORDER BY n.similarity DESC"
            found = connection.execute(sql).fetchall()
            agrees(found, own, np.array(own.stored()[key], np.float32), leaving=key)


@pytest.mark.parametrize("opened", [indexed, client])
def test_each_row_of_a_table_may_ask(own: Own, opened: Any) -> None:
    sql = (
        "SELECT asking.content_id, n.content_id FROM embeddings_own asking, "
        "nearest('own', {}, 3) n ORDER BY ALL"
    )
    with opened(own) as connection:
        at_once = connection.execute(sql.format("asking.vector")).fetchall()
        singly = []
        for content, vector in connection.execute(
            "SELECT content_id, vector FROM embeddings_own"
        ).fetchall():
            hits = connection.execute("FROM nearest('own', $1, 3)", [list(vector)]).fetchall()
            singly += [(content, hit) for hit, _ in hits]
    assert len(at_once) == 3 * len(own.stored())
    assert at_once == sorted(singly)


def test_the_index_is_asked_and_the_catalog_scans(own: Own, tmp_path: Path) -> None:
    query = (
        "SELECT count(*) FROM nearest('own', vector_of((SELECT min(item_id) FROM items), 'own'))"
    )
    (place,) = own.sql("SELECT path FROM indexes WHERE space = 'own'")
    file = own.lake.root / place["path"] / INDEX_FILE
    with client(own) as connection, indexed(own) as ours:
        file.rename(tmp_path / INDEX_FILE)
        try:
            assert connection.execute(query).fetchall() == [(10,)]
            with pytest.raises(duckdb.Error, match=INDEX_FILE):
                ours.execute(query)
        finally:
            (tmp_path / INDEX_FILE).rename(file)


def test_a_vector_costs_no_look_at_the_items(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(nearest._Nearest, "_vectors", lambda *given: asked.append(given))
    with indexed(own) as connection:
        assert connection.execute("FROM nearest('own', $1, 3)", [[1.0] * 12]).fetchall()
    assert asked == []


@pytest.mark.parametrize("opened", [connect, None])
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("nearest('own', 'k20')", "no item 'k20' has a vector in space 'own'"),
        ("nearest('own', [1.0, 2.0])", "(?i)dimensions? |12 numbers, this one has 2"),
        ("nearest('own', 5)", "(?i)give the id of an item, or a vector|cast"),
        ("nearest('owl', [1.0, 2.0])", "'own'|embeddings_own"),
    ],
)
def test_a_wrong_question_is_answered_with_a_way_out(
    own: Own, opened: Any, query: str, told: str
) -> None:
    with connect(own.lake) as connection:
        if opened is None:
            add_nearest(connection, own.lake, own.settings)
        with pytest.raises(duckdb.Error) as error:
            connection.execute(f"FROM {query}")
        message = explain(error.value, connection)
    assert "UDF" not in message
    assert re.search(told, message)


def test_k_is_at_least_one_and_at_most_all(own: Own) -> None:
    query = [1.0] * 12
    with indexed(own) as connection:
        found = connection.execute("FROM nearest('own', $1, 1000)", [query]).fetchall()
        assert {content for content, _ in found} == {
            content for (content,) in connection.execute("SELECT content_id FROM items").fetchall()
        }
        with pytest.raises(duckdb.Error, match="k is 0"):
            connection.execute("FROM nearest('own', $1, 0)", [query])


def test_texts_without_an_index_and_words_by_their_spelling(tmp_path: Path, samples: Path) -> None:
    project = make_project(tmp_path / "project", samples)
    project.ingest("notes")
    project.embed("words")
    project.words()
    project.lake.commit_snapshot("run")
    text = "(SELECT min(item_id) FROM items WHERE source = 'notes')"
    word = "content_of('of', 'words_vocabulary')"
    with connect(project.lake) as exact, indexed(project) as ours:
        assert exact.execute("SELECT space FROM indexes").fetchall() == [("words_vocabulary",)]
        for asked in (f"'words', {text}", "'words_vocabulary', 'of'"):
            sql = f"SELECT n.*, {word} FROM nearest({asked}, 5) n ORDER BY similarity DESC"
            truth, found = exact.execute(sql).fetchall(), ours.execute(sql).fetchall()
            assert [one for _, one, _ in found] == pytest.approx(
                [one for _, one, _ in truth], abs=1e-5
            )
            assert all(content != own for content, _, own in found)
