"""The space of an encoder's words: what is in it, what it leaves alone, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gensim.models import KeyedVectors

from data.catalog import connect, current_spaces, space_versions
from data.content import content_id
from data.maintenance.exporting import read_rows
from data.maintenance.vacuuming import Retention, plan_vacuum
from data.shards import shard_paths
from latentlake.errors import ConfigError, QueryError
from models.encoders.word_vectors_io import read_artefact
from tasks.stages.maintaining import CompactionOptions, compact_lake, mend_lake, restore_lake
from tasks.stages.neighbours import link_neighbours
from tasks.stages.promoting import promote_version
from tasks.stages.reporting import report_space
from tasks.stages.runs import begin_run, finish_run
from tasks.stages.searching import SearchQuery, search
from tasks.stages.verifying import verify_lake
from tasks.stages.versions import embedded_spaces, prepare_versions
from tasks.stages.vocabulary import update_vocabulary
from tests.tasks.conftest import Project, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from models.encoders.word_vectors_io import WordVectors

NAME = "words_vocabulary"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Project:
    """Return a project that has run; read only."""
    made = make_project(tmp_path_factory.mktemp("vocabulary") / "project", samples)
    assert made.run().errors == ()
    return made


def trained_words(project: Project) -> WordVectors:
    space = current_spaces(project.lake)["words"]
    assert space.artefact is not None
    return read_artefact(project.lake.root / space.artefact).words


def oracle(project: Project) -> KeyedVectors:
    words = trained_words(project)
    known = KeyedVectors(words.vectors.shape[1])
    known.add_vectors(list(words.words), words.vectors)
    return known


def sql(project: Project, query: str) -> list[tuple[Any, ...]]:
    with connect(project.lake) as connection:
        return connection.sql(query).fetchall()


def found_words(project: Project, text: str, **rest: Any) -> list[tuple[str, float]]:
    query = SearchQuery(text=text, space=NAME, **rest)
    hits = search(project.lake, project.settings, query).hits.to_pylist()
    return [(hit["word"], hit["similarity"]) for hit in hits]


def configure(project: Project, old: str, new: str) -> None:
    config = project.folder / "latentlake.toml"
    text = config.read_text("utf-8")
    assert old in text
    config.write_text(text.replace(old, new), "utf-8")


def words_step(project: Project) -> list[Any]:
    """What a run does with the words, as a run of its own."""
    run = begin_run(project.lake, "embed")
    receipts = project.words(run.run_id)
    finish_run(project.lake, project.settings, run, receipts)
    return receipts


def test_every_word_has_its_vector_count_and_rank(built: Project) -> None:
    words = trained_words(built)
    assert words.counts is not None
    rows = sql(
        built,
        f"SELECT word, count, rank, content_id, vector FROM embeddings_{NAME} "
        f"JOIN vocabulary USING (content_id) WHERE space = '{NAME}' ORDER BY rank",
    )
    assert [row[0] for row in rows] == list(words.words)
    assert [row[1] for row in rows] == words.counts.tolist()
    assert [row[2] for row in rows] == list(range(1, len(rows) + 1))
    assert [row[3] for row in rows] == [content_id(word) for word in words.words]
    np.testing.assert_array_equal(np.array([row[4] for row in rows]), words.vectors)


def test_words_are_no_items_and_in_no_report(built: Project) -> None:
    assert sql(built, "SELECT count(*) FROM items") == [(86,)]
    for table in ("duplicates", "clusters", "anomalies", "neighbours", "paired"):
        assert sql(built, f"SELECT DISTINCT space FROM {table}") in ([("words",)], [])
    lake, settings = built.lake, built.settings
    assert embedded_spaces(lake, settings, ()) == ["words"]
    assert embedded_spaces(lake, settings, (), vocabularies=True) == ["words", NAME]
    with pytest.raises(ConfigError, match="reports are about items"):
        report_space(lake, settings, NAME, "anomalies", "run")
    hits = search(lake, settings, SearchQuery(text="neural networks", k=3))
    assert hits.space == "words"  # the words do not make a query's space ambiguous


@pytest.mark.parametrize("word", ["model", "theory", "the"])
def test_nearest_words_are_gensims(built: Project, word: str) -> None:
    expected = oracle(built).most_similar(word, topn=5)
    found = found_words(built, word, k=5)
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-5)


def test_analogies_are_gensims(built: Project) -> None:
    expected = oracle(built).most_similar(["model", "theory"], ["data"], topn=5)
    found = found_words(built, "model - data + theory", k=5)
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert not {"model", "data", "theory"} & {name for name, _ in found}


def test_analogies_in_sql_are_the_same(built: Project) -> None:
    found = sql(
        built,
        f"""WITH words AS (
            SELECT word, vector FROM vocabulary JOIN embeddings_{NAME} USING (content_id)
            WHERE space = '{NAME}'
        ),
        query AS (
            SELECT any_value(vector) FILTER (word = 'model') AS a,
                   any_value(vector) FILTER (word = 'data') AS b,
                   any_value(vector) FILTER (word = 'theory') AS c
            FROM words
        )
        SELECT word
        FROM words, query
        WHERE word NOT IN ('model', 'data', 'theory')
        ORDER BY similarity(vector, a) - similarity(vector, b) + similarity(vector, c) DESC
        LIMIT 5""",
    )
    expected = found_words(built, "model - data + theory", k=5)
    assert [row[0] for row in found] == [word for word, _ in expected]


def test_only_words_for_which_an_expression_holds(built: Project) -> None:
    found = found_words(built, "model", k=3, where="rank > 50")
    ranks = dict(sql(built, "SELECT word, rank FROM vocabulary"))
    assert len(found) == 3
    assert all(ranks[word] > 50 for word, _ in found)


def test_a_word_is_found_as_the_tokeniser_writes_it(built: Project) -> None:
    assert found_words(built, "Model", k=1) == found_words(built, "model", k=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modell", "no word 'modell' in space 'words_vocabulary'. Did you mean 'model'"),
        ("qqqqxzqqqq", "No word is spelt nearly so"),
        ("model -", "a sign without a word"),
        ("model + - data", "a sign without a word"),
        ("model - model", "adds up to nothing"),
        ("  ", "no word to look for"),
        ("+ -", "a sign without a word"),
    ],
)
def test_what_is_no_sum_of_known_words_is_refused(built: Project, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        found_words(built, text)


def test_only_words_can_be_looked_for_among_words(built: Project) -> None:
    with pytest.raises(QueryError, match="holds words, not images"):
        search(built.lake, built.settings, SearchQuery(image=b"x", space=NAME))
    ((item,),) = sql(built, "SELECT min(item_id) FROM items WHERE modality = 'text'")
    with pytest.raises(QueryError, match="holds words, not texts"):
        search(built.lake, built.settings, SearchQuery(item=item, space=NAME))


def test_no_news_commits_nothing(project: Project) -> None:
    project.run()
    before = project.versions()
    assert project.words() == []
    assert project.versions() == before


def test_it_is_dropped_and_made_again_as_configured(project: Project) -> None:
    project.run()
    link_neighbours(project.lake, project.settings, NAME, "run")
    configure(project, 'encoder = "word2vec"', 'encoder = "word2vec"\nvocabulary = false')
    (receipt,) = words_step(project)
    assert receipt.counts == {"dropped": 1}
    assert list(current_spaces(project.lake)) == ["words"]
    for table in ("vocabulary", "builds", "neighbours"):
        assert sql(project, f"SELECT count(*) FROM {table} WHERE space = '{NAME}'") == [(0,)]
    assert words_step(project) == []
    configure(project, "vocabulary = false", "vocabulary = true")
    receipt, _ = words_step(project)
    assert receipt.counts["words"] == len(trained_words(project).words)
    assert found_words(project, "model", k=1)
    assert list(verify_lake(project.lake)) == []


def test_words_are_those_of_the_version_that_readers_see(project: Project) -> None:
    project.run()
    lake, settings = project.lake, project.settings
    old = current_spaces(lake)[NAME]
    project.write_notes(project.read_notes() | {"zebras": "zebra " * 9})
    project.ingest("notes")
    for version in prepare_versions(lake, settings, "words", "r2", retrain=True):
        project.fill(version, "r2")
    assert [receipt.stage for receipt in project.words("r2")] == ["embed", "index"]
    assert current_spaces(lake)[NAME] == old
    project.run()  # completes the new version, and promotes it
    new = current_spaces(lake)[NAME]
    assert new.id.fingerprint != old.id.fingerprint
    assert found_words(project, "zebra", k=1)
    words = sql(project, f"SELECT word FROM vocabulary WHERE space = '{NAME}' ORDER BY rank")
    assert [word for (word,) in words] == list(trained_words(project).words)
    (former,) = [v for v in space_versions(lake, "words") if not v.is_current]
    promote_version(lake, settings, former.version, force=True)
    assert current_spaces(lake)[NAME].id == old.id
    with pytest.raises(QueryError, match="no word 'zebra'"):
        found_words(project, "zebra")
    with pytest.raises(QueryError, match="promoted with the space"):
        promote_version(lake, settings, NAME)
    assert list(verify_lake(lake)) == []


def test_words_are_forgotten_with_their_version(project: Project) -> None:
    lake, settings = project.lake, project.settings
    for number in range(3):
        project.write_notes(project.read_notes() | {f"n{number}": f"zebra{number} " * 9})
        project.ingest("notes")
        for version in prepare_versions(lake, settings, "words", "r", retrain=True):
            project.fill(version, "r")
        project.run()
    held = space_versions(lake)
    assert sorted(v.id.name for v in held) == ["words", "words", NAME, NAME]
    rows = lake.read("vocabulary").to_pylist()
    assert {row["space"] for row in rows} == {v.key for v in held if v.is_vocabulary}
    assert list(verify_lake(lake)) == []


def test_a_space_of_that_name_is_refused_and_nothing_is_lost(project: Project) -> None:
    project.ingest("notes")
    configure(
        project,
        "[run]",
        f'[[spaces]]\nname = "{NAME}"\nencoder = "word2vec"\nsources = ["notes"]\n[run]',
    )
    project.embed("words")
    space = current_spaces(project.lake)["words"]
    with pytest.raises(ConfigError, match="set vocabulary = false"):
        update_vocabulary(project.lake, project.settings, space, "run")
    configure(project, 'name = "words"\n', 'name = "words"\nvocabulary = false\n')
    assert update_vocabulary(project.lake, project.settings, space, "run") is None


def test_upkeep_treats_words_as_contents(project: Project) -> None:
    project.run()
    lake, settings = project.lake, project.settings
    count = len(trained_words(project).words)
    compact_lake(lake, settings, CompactionOptions(shard_rows=10_000, drop_unused=True))
    assert len(shard_paths(lake, current_spaces(lake)[NAME].id)) == 1
    assert read_rows(lake, NAME, lake.snapshot()).read_all().num_rows == count
    assert words_step(project) == []
    plan = plan_vacuum(lake, Retention(keep_runs=1, grace_hours=0), datetime.now(UTC))
    needed = shard_paths(lake, current_spaces(lake)[NAME].id)
    assert not {removal.path for removal in plan} & {path.rpartition("lake/")[2] for path in needed}
    restore_lake(lake, settings, lake.snapshot(1))
    assert list(verify_lake(lake)) == []
    assert found_words(project, "model", k=1)


def test_a_damaged_shard_is_dropped_and_written_again(project: Project) -> None:
    project.run()
    before = found_words(project, "model", k=5)
    path, *_ = shard_paths(project.lake, current_spaces(project.lake)[NAME].id)
    with open(path, "r+b") as shard:  # noqa: PTH123
        shard.seek(300)
        shard.write(b"damage")
    findings = list(verify_lake(project.lake))
    assert findings
    mend_lake(project.lake, project.settings, findings)
    receipt, index = words_step(project)
    assert receipt.counts["shards"] == 1
    assert index.changed
    assert list(verify_lake(project.lake)) == []
    assert found_words(project, "model", k=5) == before
