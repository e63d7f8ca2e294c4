"""`latentlake search`: its arguments and how hits are shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from models.indexes.faiss_library import library

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Invoke
    from tests.tasks.conftest import Project


def test_words_find_the_text_they_are_from(invoke: Invoke, world: Project) -> None:
    key, text = list(world.read_notes().items())[3]
    hits = json.loads(invoke("search", *text.split(), "-k", "2", "--format", "json").stdout)
    assert hits[0]["uri"] == f"notes.jsonl#{key}"
    assert hits[0]["metadata"]["length"] == len(text)
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert key in invoke("search", text, "-k", "1").stdout


def test_an_image_finds_itself_and_names_its_copies(invoke: Invoke, world: Project) -> None:
    photo = world.folder / "photos" / "copy.jpg"
    done = invoke("search", "--image", str(photo), "-k", "1", "--format", "json")
    (hit,) = json.loads(done.stdout)
    assert hit["similarity"] == pytest.approx(1, abs=1e-5)
    assert "copy.jpg" in (hit["uri"], *hit["copies"])
    assert len(hit["copies"]) == 1
    assert "copies" in invoke("search", "--image", str(photo), "-k", "1").stdout.splitlines()[0]


@pytest.mark.parametrize("arguments", [[], ["words", "--item", "x"], ["words", "-k", "0"]])
def test_not_exactly_one_query_is_wrong_usage(invoke: Invoke, arguments: list[str]) -> None:
    assert invoke("search", *arguments).exit_code == 2


def test_a_refusal_is_one_line(invoke: Invoke) -> None:
    done = invoke("search", "qqqqxyz")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "no known word" in done.stderr


def test_a_file_of_queries_is_one_table(invoke: Invoke, world: Project, tmp_path: Path) -> None:
    key, text = list(world.read_notes().items())[3]
    path = tmp_path / "queries.jsonl"
    path.write_text(json.dumps({"id": "first", "text": text}) + "\n{\n", "utf-8")
    done = invoke("search", "--file", str(path), "-k", "2", "--format", "json")
    assert done.exit_code == 3
    assert "query 2: no JSON" in done.stderr
    assert "1 of 2 queries were not answered" in done.stderr
    hits = json.loads(done.stdout)
    assert [(hit["query"], hit["rank"]) for hit in hits] == [("first", 1), ("first", 2)]
    assert hits[0]["uri"] == f"notes.jsonl#{key}"
    assert hits[0]["metadata"]["length"] == len(text)
    (tmp_path / "queries.txt").write_text(text.replace("\n", " "), "utf-8")
    done = invoke("search", "--file", str(tmp_path / "queries.txt"), "-k", "1")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].split()[:3] == ["query", "rank", "similarity"]


def test_a_gpu_that_is_not_there_is_one_line(
    invoke: Invoke, world: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (space,) = (one for one in world.settings.spaces if one.name == "words")
    wish = space.model_dump(mode="json", exclude_none=True) | {"index": {"device": "cuda"}}
    monkeypatch.setenv("LATENTLAKE_SPACES", json.dumps([wish]))
    monkeypatch.setattr(library(), "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(library(), "get_num_gpus", lambda: 0)
    done = invoke("search", "--space", "words", "theorem")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "FAISS sees no CUDA device" in done.stderr
    assert "index.device = 'cpu'" in done.stderr
