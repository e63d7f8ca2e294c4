"""The commands of docs/how-to/change-a-model.md, typed in their order."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.catalog import space_versions
from latentlake.cli.main import cli
from tests.tasks.conftest import Project

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "change-a-model.md"
SOURCE = '[[sources]]\nname = "photos"\nkind = "images"\nuri = "photos"\n\n'


@pytest.fixture
def project(tmp_path: Path, samples: Path) -> Project:
    made = Project(tmp_path / "project")
    (made.folder / "photos").mkdir(parents=True)
    for path in sorted((samples / "photos" / "hat").glob("*.jpg"))[:20]:
        shutil.copy2(path, made.folder / "photos" / path.name)
    return made


def fingerprint(project: Project, name: str) -> str:
    """The whole name of the version that the page calls by the beginning of its fingerprint."""
    precision = {"8e3a4ff2": '"float32"', "d621ea43": '"half"'}[name]
    found = (space for space in space_versions(project.lake) if precision in space.options)
    return next(found).id.fingerprint


def test_the_commands_of_the_page_work(project: Project) -> None:
    text = PAGE.read_text("utf-8")
    (space,) = re.findall(r"^```toml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    config = project.folder / "latentlake.toml"
    config.write_text(SOURCE + space.replace('"half"', '"float32"'), "utf-8")
    project.run()
    config.write_text(SOURCE + space, "utf-8")
    commands = re.findall(r"^\$ latentlake (.*)$", text, flags=re.MULTILINE)
    said = []
    for command in commands:
        if command == "run":
            said.append(" ".join(note for r in project.run().receipts for note in r.notes))
            continue
        typed = re.sub(r"(?<=@)\w{8}", lambda name: fingerprint(project, name[0]), command)
        done = CliRunner().invoke(cli, [*typed.split(), "--config", str(config)])
        assert done.exit_code == 0, (command, done.output)
        said.append(done.stdout)
    listed, looked, ran, _, compared, differing, promoted, back, last = said
    assert 'precision "float32", configured "half"' in listed
    assert "20 of 20 contents, encoded for this" in looked
    assert "by vectors alone" in looked
    assert "is complete and waits" in ran
    assert re.search("20 of 20 contents;", compared)
    assert "options.precision  float32" in differing
    assert "stays to go back to" in promoted
    assert "stays to go back to" in back
    assert [line.split()[1] for line in last.splitlines()[2:]] == ["current", "former"]
