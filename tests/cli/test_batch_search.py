"""Searches of a file against one search for each of its queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data.query_files import GivenQuery
from latentlake.errors import QueryError
from tasks.stages.batch_search import ManyAnswers, ManyQueries, search_many
from tasks.stages.searching import SearchQuery, search

if TYPE_CHECKING:
    from tests.tasks.conftest import Project


def many(project: Project, *queries: GivenQuery, **asked: Any) -> tuple[Any, ManyAnswers]:
    blocks = [list(queries[start : start + 3]) for start in range(0, len(queries), 3)]
    found = search_many(project.lake, project.settings, ManyQueries(blocks, **asked))
    return found.reader.read_all(), found


def one(project: Project, **query: Any) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = search(
        project.lake, project.settings, SearchQuery(**query)
    ).hits.to_pylist()
    return hits


def of_query(table: Any, name: str) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row.pop("query") == name]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    here, there = ([row.pop("similarity") for row in rows] for rows in (found, expected))
    return found == expected and bool(np.allclose(here, there, atol=1e-5))


def test_each_query_gets_what_it_gets_alone(world: Project) -> None:
    notes = list(world.read_notes().items())
    texts = [GivenQuery(f"t{at}", text=text[:200]) for at, (_, text) in enumerate(notes[5:9])]
    items = [GivenQuery(f"i{at}", item=f"notes.jsonl#{notes[at][0]}") for at in (0, 20)]
    table, found = many(world, *texts, *items, k=4)
    assert found.problems == []
    assert found.asked == 6
    for query in texts:
        assert same(of_query(table, query.name), one(world, text=query.text, k=4))
    for query in items:
        assert same(of_query(table, query.name), one(world, item=query.item, k=4))


def test_a_condition_holds_for_all(world: Project) -> None:
    where = "(metadata->>'length')::INT > 1000"
    queries = [GivenQuery(str(at), text=word) for at, word in enumerate(("models", "learning"))]
    table, _ = many(world, *queries, k=3, where=where)
    for query in queries:
        assert same(of_query(table, query.name), one(world, text=query.text, k=3, where=where))
    with pytest.raises(QueryError, match="where 'no_column > 1'"):
        many(world, *queries, where="no_column > 1")


def test_what_cannot_be_looked_for_is_named_and_the_others_answered(world: Project) -> None:
    queries = [
        GivenQuery("bad", problem="no JSON"),
        GivenQuery("strange", text="qqqqxyz"),
        GivenQuery("good", text="models"),
        GivenQuery("lost", item="lost.jpg"),
        GivenQuery("picture", item="copy.jpg"),
        GivenQuery("vector", vector=np.ones(3, np.float32)),
        GivenQuery("last", text="learning"),
    ]
    table, found = many(world, *queries, k=2)
    assert sorted(set(table["query"].to_pylist())) == ["good", "last"]
    problems = dict(found.problems)
    assert list(problems) == ["bad", "strange", "lost", "picture", "vector"]
    assert "no known word" in problems["strange"]
    assert "no item has the id or URI 'lost.jpg'" in problems["lost"]
    assert "holds texts, not images" in problems["picture"]
    assert "not vectors" in problems["vector"]


def test_nothing_to_answer_is_an_error(world: Project) -> None:
    with pytest.raises(QueryError, match=r"none of 1 queries .* x: no JSON"):
        many(world, GivenQuery("x", problem="no JSON"))
    with pytest.raises(QueryError, match="none of 0 queries"):
        many(world)


def test_words_are_found_for_many(world: Project) -> None:
    spaces = world.settings.spaces
    name = f"{spaces[0].name}_vocabulary"
    words = [row["word"] for row in world.lake.read("vocabulary").to_pylist()[:2]]
    queries = [GivenQuery(word, text=word) for word in words]
    table, _ = many(world, *queries, GivenQuery("unknown", text="qqqqxyz"), space=name, k=3)
    for word in words:
        assert same(of_query(table, word), one(world, text=word, space=name, k=3))
