"""The page on one's own vectors, run from top to bottom as a reader would."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

from data.catalog import connect
from latentlake.cli.main import cli
from tests.docs.test_docs import DOCS, blocks
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "how-to/bring-your-own-vectors.md"
RUNS = ("latentlake run",)


def commands() -> list[str]:
    lines = [line for block in blocks(PAGE, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("page"))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(made.folder)
        (script,) = blocks(PAGE, "python")
        exec(script, {})  # noqa: S102  the page's own example
    (made.folder / "latentlake.toml").write_text("\n".join(blocks(PAGE, "toml")), "utf-8")
    assert "latentlake run" in commands()
    summary = made.run()  # what the command does, without a server of Prefect's
    assert not summary.errors
    page = " ".join((DOCS / PAGE).read_text("utf-8").split())
    for note in (n for r in summary.receipts if r.stage == "embed" for n in r.notes):
        assert f"`{note}`" in page
    return made


@pytest.mark.parametrize("command", [line for line in commands() if line not in RUNS])
def test_every_command_has_an_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(project.folder)
    program, *arguments = shlex.split(command)
    assert program == "latentlake"
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    expected = "short" if arguments[0] in ("sql", "spaces") else "digit"
    assert expected in result.output


def test_the_neighbours_are_those_of_brute_force(project: Project, tmp_path: Path) -> None:
    digits = load_digits()
    with connect(project.lake) as connection:
        ((agreement,),) = [
            row for sql in blocks(PAGE, "sql") for row in connection.sql(sql).fetchall()
        ]
    lengths = np.square(digits.data).sum(axis=1)
    squares = lengths[:, None] + lengths - 2 * digits.data @ digits.data.T
    np.fill_diagonal(squares, np.inf)
    same = digits.target[squares.argmin(axis=1)] == digits.target
    assert agreement == pytest.approx(same.mean(), abs=0.003)
    output = tmp_path / "hits.json"
    arguments = ["search", "--vector", str(project.folder / "query.npy"), "--space", "pixels"]
    rest = ["--output", str(output), "--config", str(project.folder / "latentlake.toml")]
    assert CliRunner().invoke(cli, [*arguments, *rest]).exit_code == 0
    first = json.loads(output.read_text("utf-8"))[0]
    assert (first["uri"], first["similarity"]) == ("digits.parquet#digit-0", 0)
