"""Full, limited and read-only disks under the lake: a clear error, and the same end."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from data.disk import refusal, writing_to
from data.lake import Lake, table_of
from data.undo import whole_or_undone
from latentlake.commit_points import watching
from latentlake.errors import LakeNotWritableError
from tests.faults.forks import Attempt, Forks
from tests.faults.lakes import ROOT, check_snapshot, make_project, orphans, run_whole, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Uninterrupted
    from tests.tasks.conftest import Project

needs_mount = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="only root may mount a small disk",
)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", *options, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: delta-rs may still close the file of an upload that the full disk ended.
        subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(folder: Path, kib: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kib}k", str(folder)], check=True)


def error_of(project: Project) -> str:
    with pytest.raises(LakeNotWritableError) as raised:
        run_whole(project)
    return str(raised.value)


@needs_mount
def test_a_disk_that_fills_up_anywhere_leaves_a_lake_that_resumes(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")
    root = project.folder / "lake"
    messages = []
    with mounted(root, "-t", "tmpfs", "-o", "size=16k", "latentlake-test"):
        for kib in (16, 48, 96, 160, 224, 288, 352):
            resize(root, kib)
            messages.append(error_of(project))
        resize(root, 65536)
        run_whole(project)
        assert state_of(project.lake) == uninterrupted.built
        assert orphans(project.lake) == []
        check_snapshot(project.lake, 1)
    assert all("no space left on device; make room" in message for message in messages)
    assert len(set(messages)) > 3  # it was full at different places


@pytest.mark.slow
@needs_mount
def test_a_read_only_lake_refuses_to_run_and_goes_on_answering(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    run_whole(project)
    root = str(project.lake.root)
    with mounted(project.lake.root, "--bind", root):
        subprocess.run(["mount", "-o", "remount,ro,bind", root], check=True)
        done = command(project, "run")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(
            f"latentlake: cannot write {root}: read-only"
        )
        assert "Traceback" not in done.stderr
        asked = command(project, "sql", "SELECT count(*) AS n FROM items", "--format", "csv")
        assert asked.stdout.split() == ['"n"', "87"]
        check_snapshot(project.lake, 1)


def command(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    return subprocess.run(
        [sys.executable, "-m", "latentlake.cli.main", *arguments],
        cwd=project.folder,
        env=environment
        | {"PREFECT_HOME": str(project.folder / "prefect"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_that_fails_is_undone_at_once(
    tmp_path: Path, forks: Forks, uninterrupted: Uninterrupted
) -> None:
    project = make_project(tmp_path / "project")

    def refuse(point: str) -> None:
        if point == "files to commit":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with watching(refuse), pytest.raises(OSError, match="No space left"):
        project.ingest("photos")
    assert project.lake.read("items").num_rows == 0
    assert not (project.lake.root / "undo.json").exists()
    assert forks.run(Attempt(str(project.folder))).codes == (0,)
    assert state_of(project.lake) == uninterrupted.built


def test_a_stage_cannot_begin_inside_another(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    rows = table_of("items", [{"item_id": "a"}])

    def nest() -> None:
        with whole_or_undone(lake, "outer"):
            lake.upsert("items", rows, "run")
            with whole_or_undone(lake, "inner"):
                pass

    with pytest.raises(RuntimeError, match="inner begins"):
        nest()
    assert lake.read("items").num_rows == 0
    with whole_or_undone(lake, "again"):
        lake.upsert("items", rows, "run")
    assert lake.read("items").num_rows == 1


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "x"), errno.ENOSPC),
        (RuntimeError("write error in i.faiss: 4 != 8 (No space left on device)"), errno.ENOSPC),
        (Exception("Generic LocalFileSystem error: Read-only file system (os error 30)"), 30),
        (OSError(errno.EIO, "x"), None),
        (ValueError("no space"), None),
    ],
)
def test_refusals_are_told_whichever_library_they_come_through(
    error: Exception, number: int | None
) -> None:
    assert refusal(error) == number
    expected = type(error) if number is None else LakeNotWritableError
    with pytest.raises(expected), writing_to("a file"):
        raise error
