"""A graph that is built part by part, killed on its way: it goes on, to the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.faults.lakes import ROOT, check_tables_are_sound, orphans, state_of
from tests.tasks.stages.test_own_vectors import Own, clustered, named

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 150
POINTS = ("checkpoint written", "checkpoint named")


def prepared(folder: Path, neighbours: int = 5) -> Own:
    made = Own(folder)
    made.configure()
    path = folder / "latentlake.toml"
    path.write_text(path.read_text("utf-8").replace("neighbours = 5", f"neighbours = {neighbours}"))
    made.put(named(clustered(ROWS)))
    return made


def run(project: Own, point: str = "none", count: int = 1) -> int:
    """Run the pipeline, killed or to its end; return how many parts were written."""
    trace = project.folder / "trace"
    command = [sys.executable, "-m", "tests.faults.killed_graph", str(project.folder), str(trace)]
    done = subprocess.run([*command, point, str(count)], cwd=ROOT, capture_output=True, check=False)
    ends = 0 if point == "none" else -signal.SIGKILL
    assert done.returncode == ends, done.stderr.decode()
    return trace.read_text().splitlines().count("checkpoint named")


def same(one: Own, other: Own) -> None:
    expected, found = state_of(one.lake), state_of(other.lake)
    assert found.keys() == expected.keys()
    for name, rows in found.items():
        assert rows == expected[name], name
    check_tables_are_sound(other.lake)
    assert orphans(other.lake) == []
    assert list(other.lake.store.files("checkpoints")) == []


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    quiet, killed = prepared(tmp_path / "quiet"), prepared(tmp_path / "killed")
    parts = run(quiet)
    assert parts > 20
    assert run(killed, "checkpoint named", 14) == 14
    assert run(killed, "checkpoint written", 3) == 2
    assert run(killed, "neighbours committed") == parts - 16
    assert run(killed) == 0
    same(quiet, killed)


def test_lists_of_other_settings_are_not_taken_over(tmp_path: Path) -> None:
    quiet, killed = prepared(tmp_path / "quiet", 4), prepared(tmp_path / "killed")
    parts = run(quiet)
    assert run(killed, "checkpoint named", 4) == 4
    prepared(killed.folder, 4)
    assert run(killed) == parts
    same(quiet, killed)
