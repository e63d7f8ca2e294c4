"""The group: its static table, its exit statuses, and what it does not import."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from latentlake.cli.lazy import LazyCommand, LazyGroup
from latentlake.cli.main import COMMANDS, cli
from latentlake.errors import QueryError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tasks.conftest import Project


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def imported_after(*arguments: str) -> set[str]:
    code = (
        "import sys\nfrom latentlake.cli.main import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "print('modules:', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = run_python(code, *arguments)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_static_summary_is_the_commands_own_first_line(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == COMMANDS[name].summary


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert f"latentlake {name}" in shown.output.partition("Examples:")[2]


def test_help_names_every_command_and_imports_none() -> None:
    shown = CliRunner().invoke(cli, ["--help"])
    for name, command in COMMANDS.items():
        assert f"  {name} " in shown.output
        assert command.summary in " ".join(shown.output.split())  # long ones go on a line further
    code = (
        "import sys\nfrom latentlake.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "print('modules:', *{name.partition('.')[0] for name in sys.modules})"
    )
    modules = set(run_python(code).stdout.splitlines()[-1].split()[1:])
    assert "click" in modules
    assert not modules & {"torch", "prefect", "faiss", "gensim", "pyarrow", "duckdb", "pydantic"}


@pytest.mark.parametrize("command", ["spaces", "models"])
def test_listing_versions_needs_no_model_and_no_prefect(world: Project, command: str) -> None:
    config = str(world.folder / "latentlake.toml")
    modules = imported_after(command, "--config", config)
    assert "deltalake" in modules
    assert not modules & {"torch", "prefect", "faiss", "gensim", "sklearn", "scipy"}


def test_sql_needs_no_model_and_no_prefect(world: Project) -> None:
    config = str(world.folder / "latentlake.toml")
    modules = imported_after("sql", "select 1", "--config", config)
    assert "duckdb" in modules
    assert not modules & {"torch", "prefect", "faiss", "gensim", "sklearn", "scipy"}


def test_a_wrong_command_is_wrong_usage_with_a_hint() -> None:
    shown = CliRunner().invoke(cli, ["serch"])
    assert shown.exit_code == 2
    assert "Did you mean 'search'?" in shown.stderr


def test_without_a_project_a_command_is_refused_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(cli, ["status"])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("latentlake: no latentlake.toml in ")
    assert "'latentlake init' writes one" in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert shown.stdout == ""


def test_without_a_lake_a_read_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "latentlake.toml").write_text("")
    config = str(tmp_path / "latentlake.toml")
    shown = CliRunner().invoke(cli, ["sql", "select 1", "--config", config])
    assert shown.exit_code == 1
    assert "no lake at" in shown.stderr
    assert "'latentlake run' makes it" in shown.stderr


def raising(error: BaseException) -> LazyGroup:
    @click.group(cls=LazyGroup, table={"boom": LazyCommand("unused:unused", "Boom.", "All")})
    def group() -> None: ...

    @click.command()
    def boom() -> None:
        raise error

    group.get_command = lambda ctx, name: boom  # type: ignore[method-assign,assignment]  # noqa: ARG005
    assert isinstance(group, LazyGroup)
    return group


def test_errors_have_their_exit_status() -> None:
    refused = CliRunner().invoke(raising(QueryError("on\ntwo lines")), ["boom"])
    assert (refused.exit_code, refused.stderr) == (1, "latentlake: on two lines\n")
    interrupted = CliRunner().invoke(raising(KeyboardInterrupt()), ["boom"])
    assert interrupted.exit_code == 130
    bug = RuntimeError("a bug")
    assert CliRunner().invoke(raising(bug), ["boom"]).exception is bug


def test_a_reader_that_leaves_early_is_no_error(world: Project) -> None:
    config = str(world.folder / "latentlake.toml")
    query = "select range as number from range(500000)"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "latentlake.cli.main", "sql", query),
            *("--format", "csv", "--config", config),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == '"number"\n'
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.slow
def test_an_interrupted_run_ends_at_once_and_says_what_is_next() -> None:
    code = (
        "import os, signal, time\n"
        "from latentlake.cli.running import interruptible\n"
        "with interruptible():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = run_python(code)
    assert done.returncode == 130
    assert "the next run resumes" in done.stderr
    assert "Traceback" not in done.stderr
