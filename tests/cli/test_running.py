"""run and its outcome: exit status, summary, progress; Prefect itself is tested in tests/flows."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from latentlake.cli.commands import run as run_module
from latentlake.cli.main import cli
from latentlake.cli.progress import LINE_EVERY_S, LinePrinter
from latentlake.progress import ProgressEvent
from tasks.stages.receipts import StageReceipt
from tasks.stages.runs import RunFailedError, RunSummary
from tests.tasks.conftest import project

if TYPE_CHECKING:
    from latentlake.cli.running import Flow
    from tests.tasks.conftest import Project

__all__ = ["project"]
Run = Callable[..., Result]


@pytest.fixture
def call(project: Project, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return `call(flow, *options)`: `latentlake run` with a function in the flow's place."""

    def run(flow: Callable[[], RunSummary], *options: str) -> Result:
        def instead(config: str, **chosen: tuple[str, ...]) -> Flow:  # noqa: ARG001
            return flow

        monkeypatch.setattr(run_module, "pipeline_of", instead)
        config = str(project.folder / "latentlake.toml")
        return CliRunner().invoke(cli, ["run", "--config", config, *options])

    return run


def test_a_run_tells_its_stages_then_that_there_is_nothing_new(call: Run, project: Project) -> None:
    broken = project.folder / "photos" / "broken.jpg"
    broken.write_bytes(b"no picture")
    os.utime(broken, (1, 1))  # a file as young as its scan is scanned once more
    first = call(project.run)
    assert first.exit_code == 3
    lines = [line.split() for line in first.stdout.splitlines()]
    assert ["ingest", "photos"] in [line[:2] for line in lines]
    assert "Snapshot 1." in first.stdout
    assert "1 input could not be used" in first.stdout
    assert "latentlake duplicates --space words" in first.stdout
    second = call(project.run)
    assert second.exit_code == 0
    assert "Nothing new: the lake stays at snapshot 1." in second.stdout
    assert "Next:" not in second.stdout


def test_quiet_is_quiet(call: Run, project: Project) -> None:
    done = call(project.run, "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_refused_stages_end_in_a_line_each(call: Run) -> None:
    receipts = (
        StageReceipt("ingest", "photos", changed=True, counts={"new": 1}),
        StageReceipt("embed", "cnn", changed=False, error="no\nweights"),
        StageReceipt("embed", "words", changed=False, error="no texts"),
    )

    def refused() -> RunSummary:
        raise RunFailedError(
            RunSummary("r", changed=True, snapshot=4, seconds=1, receipts=receipts)
        )

    done = call(refused)
    assert done.exit_code == 1
    assert done.stderr == "latentlake: no weights\nlatentlake: no texts\n"
    assert "Snapshot 4." in done.stdout


def test_a_bug_keeps_its_traceback(call: Run) -> None:
    def bug() -> RunSummary:
        raise ZeroDivisionError

    assert isinstance(call(bug).exception, ZeroDivisionError)


def test_a_wrong_configuration_is_refused_before_prefect_is_imported(project: Project) -> None:
    (project.folder / "latentlake.toml").write_text("[lak]\n")
    config = str(project.folder / "latentlake.toml")
    done = CliRunner().invoke(cli, ["ingest", "--config", config])
    assert done.exit_code == 1
    assert "Did you mean 'lake'?" in done.stderr


def test_a_log_gets_start_end_and_a_line_every_few_seconds() -> None:
    lines: list[str] = []
    now = [0.0]
    printer = LinePrinter(lines.append, clock=lambda: now[0])
    for done in range(101):
        now[0] = done * LINE_EVERY_S / 50
        printer(ProgressEvent("embed cnn", done * 1000, 100_000))
    printer(ProgressEvent("train words", 30, 100, "%"))
    printer(ProgressEvent("ingest notes", 3, None))
    printer(ProgressEvent("ingest empty", 0, 0))
    assert lines == [
        "embed cnn: 0 of 100,000 items",
        "embed cnn: 50,000 of 100,000 items",
        "embed cnn: 100,000 of 100,000 items",
        "train words: 30 %",
        "ingest notes: 3 items",
    ]
