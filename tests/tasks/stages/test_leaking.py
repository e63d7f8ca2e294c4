"""Leakage between two sets against brute force over bytes, words and vectors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data.normal_forms import normal_text
from data.pinned import PinnedLake
from latentlake.errors import QueryError
from models.encoders.tokens import tokenise
from tasks.stages import leaking
from tasks.stages.spaces import known_space, space_vectors
from tests.tasks.conftest import Project, age, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.stages.leaking import Leakage

CONFIG = """
[[sources]]
name = "train"
kind = "text"
uri = "train.jsonl"
text = "text"
key = "id"
[[sources]]
name = "test"
kind = "text"
uri = "test.jsonl"
text = "text"
key = "id"
[[sources]]
name = "apart"
kind = "text"
uri = "apart.jsonl"
text = "text"
key = "id"
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["train", "test"]
vocabulary = false
options = { dim = 16, epochs = 2 }
"""
KINDS = ("exact", "normalised", "lexical", "semantic")


def edited(text: str) -> str:
    return " ".join(word for at, word in enumerate(text.split()) if at % 50 != 25)


def write(project: Project, source: str, texts: dict[str, str]) -> None:
    lines = [json.dumps({"id": key, "text": text}) for key, text in texts.items()]
    path = project.folder / f"{source}.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    age(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Project:
    """Sixty abstracts to train on; some of the twenty to test with are theirs in other dress."""
    project = make_project(tmp_path_factory.mktemp("leaks") / "project", samples)
    texts = list(project.read_notes().items())
    (project.folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    train = dict(texts[:60])
    train["twice"] = texts[0][1]
    test = dict(texts[60:])
    test["copy"] = texts[0][1]
    test["dressed"] = f"  {texts[1][1].upper()}\n"
    test["edited"] = edited(texts[2][1])
    test["both"] = edited(texts[3][1])
    train["both edited"] = f"{test['both']} Indeed."
    test["reordered"] = " ".join(sorted(texts[4][1].split()))
    write(project, "train", train)
    write(project, "test", test)
    write(project, "apart", {"alone": texts[0][1], "other": texts[5][1].lower()})
    project.run()
    return project


def leaks(project: Project, first: str, second: str) -> Leakage:
    lake = PinnedLake(project.lake, project.lake.snapshot())
    spaces = [known_space(lake, "words")]
    return leaking.find_leaks(lake, project.settings, spaces, (first, second))


def triples(text: str) -> set[tuple[str, ...]]:
    words = tokenise(text)
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def texts_of(project: Project, source: str) -> dict[str, str]:
    lines = (project.folder / f"{source}.jsonl").read_text("utf-8").splitlines()
    return {row["id"]: row["text"] for row in map(json.loads, lines)}


def brute_force(project: Project) -> dict[str, list[tuple[str, str, float]]]:
    """Return, by key of a test item, all it repeats: kind, key and score, the strongest kind."""
    space = known_space(project.lake, "words")
    vectors = space_vectors(project.lake, project.settings, space)
    matrix = np.concatenate(list(vectors.batches(1000)))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    items = project.lake.read("items").to_pylist()
    place = {
        row["key"]: vectors.content_ids.to_pylist().index(row["content_id"])
        for row in items
        if row["source"] != "apart"
    }
    found: dict[str, list[tuple[str, str, float]]] = {}
    for key, text in texts_of(project, "test").items():
        for other, original in texts_of(project, "train").items():
            one, two = triples(text), triples(original)
            wording = len(one & two) / len(one | two)
            cosine = float(matrix[place[key]] @ matrix[place[other]])
            if text == original:
                known = ("exact", other, 1.0)
            elif normal_text(text) == normal_text(original):
                known = ("normalised", other, 1.0)
            elif wording >= 0.8:
                known = ("lexical", other, wording)
            elif cosine >= 0.98:
                known = ("semantic", other, cosine)
            else:
                continue
            found.setdefault(key, []).append(known)
    return found


def test_leaks_are_those_of_brute_force(world: Project) -> None:
    found = leaks(world, "train", "test")
    keys = {row["item_id"]: row["key"] for row in world.lake.read("items").to_pylist()}
    wanted = brute_force(world)
    rows = {keys[row["item_id"]]: row for row in found.rows.to_pylist()}
    assert rows.keys() == wanted.keys()
    assert (found.first, found.second, found.compared) == (62, 25, ("words",))
    assert found.unseen == 0
    for key, row in rows.items():
        best = min(wanted[key], key=lambda one: (KINDS.index(one[0]), -one[2]))
        assert (row["kind"], row["score"]) == (best[0], pytest.approx(best[2], abs=1e-5))
        assert row["twins"] == len(wanted[key])
        near = [one[1] for one in wanted[key] if one[0] == best[0]]
        assert keys[row["twin_id"]] in near
        assert (row["source"], row["twin_source"]) == ("test", "train")
        assert row["score"] >= row["threshold"] - 1e-6
    assert {row["kind"] for row in rows.values()} == set(KINDS)
    assert rows["copy"]["twins"] >= 2


def test_conditions_say_the_same_as_sources(world: Project) -> None:
    by_source = leaks(world, "train", "test").rows
    by_condition = leaks(world, "source = 'train' AND true", "source = 'test' OR false").rows
    assert by_condition.equals(by_source)
    narrow = leaks(world, "train", "source = 'test' AND key = 'edited'").rows
    assert narrow["kind"].to_pylist() == ["lexical"]


def test_the_other_way_round_tells_the_items_of_the_other_set(world: Project) -> None:
    there, back = leaks(world, "train", "test").rows, leaks(world, "test", "train").rows
    assert set(back["source"].to_pylist()) == {"train"}
    assert set(there["twin_id"].to_pylist()) <= set(back["item_id"].to_pylist())


def test_what_no_space_holds_together_is_compared_by_its_bytes(world: Project) -> None:
    found = leaks(world, "train", "apart")
    assert found.unseen == 1  # the other one's content is that of a text of the space
    assert found.rows["kind"].to_pylist() == ["exact"]
    assert found.rows["space"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("train", "tset", "no source and no condition. Did you mean 'test'"),
        ("train", "source = 'nobody'", "no item satisfies"),
        ("train", "true", "62 items are in both sets"),
        ("train", "true) --", "no source and no condition"),
        ("train", "1; DROP TABLE x", "no source and no condition"),
    ],
)
def test_sets_that_are_none_are_refused(
    world: Project, first: str, second: str, reason: str
) -> None:
    with pytest.raises(QueryError, match=reason):
        leaks(world, first, second)
