"""Search against brute force over the stored vectors, whatever answers: an index or the shards."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from data.catalog import current_spaces
from latentlake.errors import QueryError, SpaceMismatchError
from tasks.stages import space_search, spaces
from tasks.stages.runs import begin_run, finish_run
from tasks.stages.searching import SearchQuery, search
from tasks.stages.spaces import live_encoder, space_vectors
from tests.tasks.conftest import CONFIG, Project

if TYPE_CHECKING:
    from models.types import Matrix

IMAGE_SPACE = """
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
neighbours = 3
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """Return a project's folder whose 81 texts, two of them the same, are searchable."""
    made = Project(tmp_path_factory.mktemp("finished"))
    (made.folder / "photos").mkdir()
    (made.folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 80)]
    notes = {row["arxiv_id"]: row["abstract"] for row in rows}
    made.write_notes(notes | {"a-copy": rows[1]["abstract"]})
    made.run()
    return made.folder


@pytest.fixture
def texts(finished: Path, tmp_path: Path) -> Project:
    """Return a copy of it that a test may change."""
    return Project(Path(shutil.copytree(finished, tmp_path / "texts")))


def find(project: Project, **query: Any) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = search(
        project.lake, project.settings, SearchQuery(**query)
    ).hits.to_pylist()
    return hits


def truth(project: Project, query: Matrix) -> dict[str, float]:
    """The cosine of a query with every content, in float64."""
    space = current_spaces(project.lake)["words"]
    vectors = space_vectors(project.lake, project.settings, space)
    matrix = np.concatenate(list(vectors.batches(7))).astype(np.float64)
    cosines = matrix @ query[0].astype(np.float64)
    cosines /= np.linalg.norm(matrix, axis=1) * np.linalg.norm(query[0])
    return dict(zip(vectors.content_ids.to_pylist(), cosines.tolist(), strict=True))


def contents(project: Project) -> dict[str, str]:
    return {row["item_id"]: row["content_id"] for row in project.lake.read("items").to_pylist()}


def encoded(project: Project, text: str) -> Matrix:
    space = current_spaces(project.lake)["words"]
    encoder = live_encoder(project.lake, project.settings, space)
    vector: Matrix = encoder.encode([encoder.prepare(text)])
    return vector


def check(project: Project, hits: list[dict[str, Any]], expected: dict[str, float]) -> None:
    """The hits are the best of `expected`, in order, with its similarities."""
    content_of = contents(project)
    best = sorted(expected.values(), reverse=True)[: len(hits)]
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    np.testing.assert_allclose([hit["similarity"] for hit in hits], best, atol=1e-5)
    found = [expected[content_of[hit["item_id"]]] for hit in hits]
    np.testing.assert_allclose(found, best, atol=1e-5)


@pytest.mark.parametrize("has_index", [True, False])
def test_words_find_what_brute_force_finds(
    texts: Project, monkeypatch: pytest.MonkeyPatch, has_index: bool
) -> None:
    if not has_index:
        monkeypatch.setattr(space_search, "stored_index", lambda *_: None)
    query = "robots that learn from data"
    hits = find(texts, text=query, k=12)
    assert len(hits) == 12
    check(texts, hits, truth(texts, encoded(texts, query)))
    result = search(texts.lake, texts.settings, SearchQuery(text=query))
    assert (result.space, result.method) == ("words", "Flat" if has_index else "exact")
    assert result.unindexed == 0


@pytest.mark.parametrize("has_index", [True, False])
def test_where_filters_before_the_search(
    texts: Project, monkeypatch: pytest.MonkeyPatch, has_index: bool
) -> None:
    if not has_index:
        monkeypatch.setattr(space_search, "stored_index", lambda *_: None)
    lengths = {key: len(text) for key, text in texts.read_notes().items()}
    limit = sorted(lengths.values())[len(lengths) // 4]
    hits = find(texts, text="robots", k=200, where=f"(metadata->>'length')::INT < {limit}")
    items = texts.lake.read("items", where=pc.field("source") == "notes").to_pylist()
    allowed = {row["content_id"] for row in items if lengths[row["key"]] < limit}
    expected = truth(texts, encoded(texts, "robots"))
    check(texts, hits, {content: expected[content] for content in allowed})
    assert len(hits) == len(allowed)


def test_an_item_finds_its_neighbours_and_never_its_own_content(texts: Project) -> None:
    keys = list(texts.read_notes())
    items = {row["key"]: row for row in texts.lake.read("items").to_pylist()}
    item = items[keys[1]]
    for name in (item["item_id"], item["uri"]):
        hits = find(texts, item=name, k=5)
        expected = truth(texts, encoded(texts, texts.read_notes()[keys[1]]))
        del expected[item["content_id"]]
        check(texts, hits, expected)


def test_copies_share_a_row_and_the_shown_one_fits_the_filter(texts: Project) -> None:
    key, text = list(texts.read_notes().items())[1]
    original, copy = f"notes.jsonl#{key}", "notes.jsonl#a-copy"
    for where, shown, other in (
        (None, *sorted((original, copy))),
        (f"uri = '{copy}'", copy, original),
        (f"uri = '{original}'", original, copy),
    ):
        hit = find(texts, text=text, k=1, where=where)[0]
        assert (hit["uri"], hit["copies"]) == (shown, [other])
        assert json.loads(hit["metadata"])["length"] == len(text)
        assert text.startswith(hit["excerpt"][:20])


def test_items_that_are_gone_are_not_found(texts: Project) -> None:
    notes = texts.read_notes()
    key, text = next(iter(notes.items()))
    assert find(texts, text=text, k=1)[0]["uri"].endswith(f"#{key}")
    del notes[key]
    texts.write_notes(notes)
    run = begin_run(texts.lake, "ingest")
    finish_run(texts.lake, texts.settings, run, [texts.ingest("notes", run.run_id)])
    hits = find(texts, text=text, k=200)
    assert len(hits) == 79
    assert f"notes.jsonl#{key}" not in {hit["uri"] for hit in hits}


def test_vectors_newer_than_the_index_are_counted(texts: Project) -> None:
    notes = texts.read_notes() | {"new": "robots learn a new thing about data"}
    texts.write_notes(notes)
    run = begin_run(texts.lake, "embed")
    receipts = [texts.ingest("notes", run.run_id), texts.embed("words", run.run_id)[1]]
    finish_run(texts.lake, texts.settings, run, receipts)
    assert search(texts.lake, texts.settings, SearchQuery(text="robots")).unindexed == 1


def test_images_are_found_by_their_pixels(project: Project) -> None:
    config = project.folder / "latentlake.toml"
    config.write_text(config.read_text() + IMAGE_SPACE)
    project.run()
    photo = sorted((project.folder / "photos").iterdir())[2]
    same = io.BytesIO()
    with Image.open(photo) as picture:
        picture.save(same, "PNG")
    hits = find(project, image=same.getvalue(), k=6)
    assert hits[0]["uri"] == photo.name
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert len(hits) == 6
    with pytest.raises(QueryError, match="cannot look for this image"):
        find(project, image=b"no picture")
    with pytest.raises(QueryError, match="space 'words' holds texts, not images"):
        find(project, image=same.getvalue(), space="words")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({}, "look for one thing"),
        ({"text": "robots", "item": "x"}, "look for one thing"),
        ({"text": "qqqqxyz"}, "no known word"),
        ({"text": "robots", "k": 0}, "at least one"),
        ({"text": "robots", "space": "wrds"}, "Did you mean 'words'?"),
        ({"image": b"x"}, r"no space of images, only: words \(texts\)"),
        ({"item": "a-copy"}, "Did you mean 'notes.jsonl#a-copy'?"),
        ({"text": "robots", "where": "nope = 1"}, "not found"),
        ({"text": "robots", "where": "uri"}, "Could not convert"),
        ({"text": "robots", "where": "true) UNION SELECT (1"}, "syntax error"),
        ({"text": "robots", "where": "true; DROP VIEW items"}, "expression"),
        ({"text": "robots", "where": "(SELECT true FROM read_text('/etc/hostname'))"}, "access"),
        ({"text": "robots", "where": "(WITH w AS (COPY items TO 'x') SELECT true)"}, "top level"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(
    texts: Project, query: dict[str, Any], told: str
) -> None:
    with pytest.raises(QueryError, match=told):
        find(texts, **query)


def test_an_item_without_a_vector_is_told(texts: Project) -> None:
    notes = texts.read_notes() | {"wordless": "12345 67890"}
    texts.write_notes(notes)
    texts.run()
    with pytest.raises(QueryError, match="has no vector in space 'words'"):
        find(texts, item="notes.jsonl#wordless")


def test_two_spaces_of_one_modality_want_a_name(texts: Project) -> None:
    config = texts.folder / "latentlake.toml"
    config.write_text(
        config.read_text()
        + '[[spaces]]\nname = "more"\nencoder = "word2vec"\nsources = ["notes"]\n'
        + "options = { dim = 8, epochs = 1 }\n"
    )
    texts.run()
    with pytest.raises(
        QueryError, match="several spaces hold texts; name one of them: more, words"
    ):
        find(texts, text="robots")
    assert len(find(texts, text="robots", space="more", k=3)) == 3


def test_another_model_is_refused(texts: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        fingerprint = "f" * 32

    monkeypatch.setattr(spaces, "load_encoder", lambda _: Other())
    with pytest.raises(SpaceMismatchError, match="ffffffff"):
        find(texts, text="robots")
