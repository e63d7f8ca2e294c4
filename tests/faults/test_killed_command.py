"""The real `latentlake run`, Prefect and all, killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.faults.lakes import ROOT, check_snapshot, make_project, orphans, run_whole, state_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Uninterrupted


@pytest.mark.slow
def test_the_command_may_be_killed_and_anything_may_finish_its_work(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")
    trace = tmp_path / "points"
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    command = [sys.executable, "-m", "tests.faults.killed_command", "shards committed", str(trace)]
    run = ["run", "--quiet", "--config", str(project.folder / "latentlake.toml")]
    killed = subprocess.Popen(
        [*command, "--", *run],
        cwd=ROOT,
        env=kept | {"PREFECT_HOME": str(tmp_path / "prefect")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert killed.wait(300) == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            os.killpg(killed.pid, signal.SIGKILL)  # Prefect's server outlives the one it was for
    assert trace.read_text().splitlines()[-1] == "shards committed"
    run_whole(project)
    assert state_of(project.lake) == uninterrupted.built
    assert orphans(project.lake) == []
    check_snapshot(project.lake, 1)
