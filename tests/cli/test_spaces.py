"""`latentlake spaces` and `models` as a user types them, over a space with a version that waits."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from data.catalog import space_versions
from data.shards import shard_paths
from latentlake.cli.main import cli
from tests.tasks.conftest import Project, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Project:
    made = make_project(tmp_path_factory.mktemp("spaces") / "project", samples)
    made.run()
    config = made.folder / "latentlake.toml"
    wanted = 'promote = "manual"\noptions = { dim = 8'
    config.write_text(config.read_text("utf-8").replace("options = { dim = 16", wanted), "utf-8")
    made.run()
    return made


def call(project: Project, *arguments: str) -> Result:
    config = str(project.folder / "latentlake.toml")
    return CliRunner().invoke(cli, [*arguments, "--config", config])


def rows(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = call(project, *arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def versions(project: Project) -> list[str]:
    return [space.version for space in space_versions(project.lake, "words")]


@pytest.mark.parametrize("command", [("spaces",), ("spaces", "list")])
def test_the_versions_are_listed_with_what_they_are_made_of(
    project: Project, command: tuple[str, ...]
) -> None:
    current, waiting, *words = rows(project, *command)
    assert [(row["space"], row["state"]) for row in words] == [
        ("words_vocabulary", "current"),
        ("words_vocabulary", "waiting"),
    ]
    assert words[1]["notes"] == ["complete"]
    assert [current["version"], waiting["version"]] == versions(project)
    assert (current["state"], waiting["state"]) == ("current", "waiting")
    assert (current["dim"], waiting["dim"]) == (16, 8)
    assert current["notes"] == ["dim 16, configured 8"]
    assert waiting["notes"] == ["complete"]
    for row, space in zip((current, waiting), space_versions(project.lake, "words"), strict=True):
        paths = shard_paths(project.lake, space.id)
        assert row["vectors"] == 80
        assert row["size_bytes"] == sum(project.lake.store.size(p) or 0 for p in named(paths))
        assert (row["index"], row["recall"]) == ("Flat", 1.0)
        assert row["results"] == sorted(
            ["anomalies", "audit", "clusters", "duplicates", "graph", "index", "lexical", "pairs"]
        )
        assert row["options"]["dim"] == row["dim"]
        files = row["details"]["files"]
        assert row["weights"] == files["model.safetensors"]
        assert row["run_id"] == space.run_id
    table = call(project, *command).stdout
    assert "dim 16, configured 8" in table
    assert "complete" in table


def named(paths: list[str]) -> list[str]:
    return [path[path.index("embeddings/") :] for path in paths]


def test_one_version_is_shown_whole(project: Project) -> None:
    current, waiting = versions(project)
    (found,) = rows(project, "spaces", "show", "words")
    assert found["version"] == current
    (found,) = rows(project, "spaces", "show", waiting[:10])
    assert (found["version"], found["lacks"]) == (waiting, [])
    assert found["index"]["rows"] == 80
    text = call(project, "spaces", "show", waiting).stdout
    assert f"Version {waiting}, waiting" in text
    assert "80 of 8 dimensions, cosine" in text
    figures = list(
        csv.reader(call(project, "spaces", "show", waiting, "--format", "csv").stdout.splitlines())
    )
    assert ["dim", "8"] in figures


def test_an_unknown_version_is_told_the_candidates(project: Project) -> None:
    done = call(project, "spaces", "show", "words@f00")
    assert done.exit_code == 1
    for version in versions(project):
        assert version in done.stderr
    assert "Did you mean 'words'" in call(project, "spaces", "show", "word").stderr
    wrong = call(project, "spaces", "lst")
    assert wrong.exit_code == 2
    assert "Did you mean 'list'" in wrong.stderr


def test_models_are_listed_and_shown(project: Project) -> None:
    listed = rows(project, "models")[:2]
    current, waiting = versions(project)
    assert [model["spaces"] for model in listed] == [["words"], [waiting[: len("words@") + 8]]]
    for model, space in zip(listed, space_versions(project.lake, "words"), strict=True):
        assert model["artefact"] == space.artefact
        folder = project.lake.root / (space.artefact or "")
        held = sum(path.stat().st_size for path in folder.iterdir())
        assert model["size_bytes"] == held
        assert model["details"] == json.loads(space.details)
    (by_print,) = rows(project, "models", "show", waiting.partition("@")[2][:6])
    (by_name,) = rows(project, "models", "show", waiting)
    assert by_print == by_name
    text = call(project, "models", "show", "words").stdout
    assert f"Model {current.partition('@')[2]}: word2vec" in text
    assert "tokeniser" in text
    refused = call(project, "models", "show", "zzz")
    assert (refused.exit_code, "no model or space 'zzz'" in refused.stderr) == (1, True)


def test_models_differ_in_named_parts(project: Project) -> None:
    current, waiting = versions(project)
    found = {
        row["part"]: (row["one"], row["other"])
        for row in rows(project, "models", "compare", current, waiting)
    }
    assert found["options.dim"] == ("16", "8")
    assert found["fingerprint"] == (current.partition("@")[2], waiting.partition("@")[2])
    assert "files.model.safetensors" in found
    assert "options.window" not in found
    same = call(project, "models", "compare", "words", current).stdout
    assert "The same model" in same


def test_a_comparison_comes_in_every_form(project: Project) -> None:
    (found,) = rows(project, "spaces", "compare", "words")
    assert (found["contents"], found["shared"], found["encoded"]) == (80, 80, False)
    assert 0 < found["overlap"]["low"] < found["overlap"]["mean"] < found["overlap"]["high"] < 1
    assert found["decided"]["anomalies"]["both"] + found["decided"]["anomalies"]["one"] == 4
    text = call(project, "spaces", "compare", "words").stdout
    assert f"{found['overlap']['mean']:.3f}" in text
    assert found["verdict"] in text
    assert "by vectors alone" not in text  # nor is there anything else to judge texts by
    assert found["decided"]["unseen"] is False
    flips = list(
        csv.DictReader(
            call(project, "spaces", "compare", "words", "--format", "csv").stdout.splitlines()
        )
    )
    assert [flip["item"] for flip in flips] == [flip["item"] for flip in found["flips"]]
    assert len(flips) > 0


def test_status_tells_of_the_version_that_waits(project: Project) -> None:
    waiting = versions(project)[1]
    assert f"waits       {waiting}" in call(project, "status").stdout
    assert rows(project, "status")[0]["spaces"][0]["waiting"] == waiting
