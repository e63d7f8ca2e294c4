"""What is compiled is kept for later processes where it can be, and never taken for other code."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numba
import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile

from models.indexes.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

CHECKOUT = Path(__file__).resolve().parents[3]

SOURCE = """
from models.indexes.compiled import compiled

@compiled
def _shifted(value):
    return value + {shift}

@compiled
def total(values):
    found = 0
    for value in values:
        found += _shifted(value)
    return found
"""

CALL = """
import sys
import numpy as np
from shifts import total
print(total(np.arange(4, dtype=sys.argv[1])))
"""


class Project:
    """A folder with a module of compiled functions, and a home."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / "code", folder / "home"
        self.folder.mkdir()
        self.home.mkdir()
        self.write(shift=1)

    def write(self, shift: int) -> None:
        (self.folder / "shifts.py").write_text(SOURCE.format(shift=shift))
        invalidate_caches()

    def call(self, kind: str = "f4") -> tuple[float, int]:
        """Sum 0 to 3, each shifted, and tell how much of the code was there already.

        The module is loaded anew, so it has nothing but what was kept.
        """
        sys.modules.pop("shifts", None)
        total = import_module("shifts").total
        return float(total(np.arange(4, dtype=kind))), sum(total.stats.cache_hits.values())

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Call it in a process of its own."""
        paths = os.pathsep.join((str(self.folder), str(CHECKOUT)))
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def kept(self) -> list[Path]:
        """What is kept of `total`, for each kind of argument."""
        return sorted((self.folder / "__pycache__").glob("shifts.total*.nbc"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(tmp_path)
    monkeypatch.syspath_prepend(made.folder)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    yield made
    sys.modules.pop("shifts", None)


def test_code_is_kept_until_its_source_changes(project: Project) -> None:
    assert project.call() == (10, 0)
    assert project.call() == (10, 1)
    assert project.call("i4") == (10, 0)
    project.write(shift=1000)  # in a function that `total` calls
    assert project.call() == (4006, 0)
    assert project.call() == (4006, 1)


def test_where_nothing_can_be_written_it_compiles_all_the_same(project: Project) -> None:
    """A file in the place of each folder: to the root user nothing is forbidden."""
    (project.folder / "__pycache__").write_text("in the way")
    project.home.rmdir()
    project.home.write_text("in the way")
    for _ in range(2):
        assert project.call() == (10, 0)


def test_the_users_cache_will_do_and_the_one_that_is_asked_for_goes_first(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "__pycache__").write_text("in the way")
    assert project.call() == (10, 0)
    assert project.call() == (10, 1)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(project.folder / "asked" / "for"))
    assert project.call() == (10, 0)
    assert project.call() == (10, 1)


FULL = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
{CALL}
"""


def test_where_files_can_be_made_but_not_filled_it_compiles_all_the_same(project: Project) -> None:
    """As on a full disk."""
    out, err = project.start(FULL, "f4").communicate(timeout=120)
    assert (out, err) == ("10.0\n", "")
    assert project.kept == []
    assert project.call() == (10, 0)


DYING = f"""
import os, sys
from numba.core.caching import IndexDataCacheFile
writes = int(sys.argv[2])
write = IndexDataCacheFile._open_for_write
def dying(self, path):
    global writes
    writes -= 1
    return os._exit(9) if writes < 0 else write(self, path)
IndexDataCacheFile._open_for_write = dying
{CALL}
"""


@pytest.mark.parametrize("writes", [0, 1])
def test_a_process_killed_before_any_write_leaves_no_code_of_an_older_source(
    project: Project, writes: int
) -> None:
    assert project.call() == (10, 0)
    project.write(shift=1000)
    dying = project.start(DYING, "f4", str(writes))
    assert dying.communicate(timeout=120) == ("", "")
    assert dying.returncode == 9
    assert project.call()[0] == 4006
    assert project.call() == (4006, 1)


def test_what_a_power_cut_has_torn_is_made_anew(project: Project) -> None:
    assert project.call() == (10, 0)
    (kept,) = project.kept
    whole = kept.read_bytes()
    for torn in (b"", bytes(len(whole)), whole[: len(whole) // 2], whole[:-1]):
        kept.write_bytes(torn)
        assert project.call() == (10, 0)
        assert project.call() == (10, 1)


def test_processes_that_compile_at_once_leave_each_its_own_code(project: Project) -> None:
    kinds = ["f4", "i4", "f4"]
    for process in [project.start(CALL, kind) for kind in kinds]:
        out, err = process.communicate(timeout=120)
        assert (float(out), err) == (10, "")
    assert len(project.kept) == 2
    for kind in kinds:
        assert project.call(kind) == (10, 1)


def test_a_process_that_writes_late_does_not_replace_code_for_other_arguments(
    project: Project,
) -> None:
    """It had looked at what there was before the other one wrote."""
    assert project.call("i4") == (10, 0)
    with pytest.MonkeyPatch.context() as late:
        late.setattr(IndexDataCacheFile, "_load_index", lambda _: {})
        late.setattr(IndexDataCacheFile, "_save_index", lambda _, __: None)
        assert project.call("f4") == (10, 0)
    assert project.call("i4") == (10, 1)


def test_other_threads_run_meanwhile() -> None:
    """Compiled code waits for what another thread does: with a common lock it would in vain."""

    @compiled
    def waits(flags: npt.NDArray[np.int64], most: int) -> bool:
        flags[0] = 1
        while flags[1] == 0 and flags[2] < most:
            flags[2 + flags[3]] += 1  # a place that a compiler does not know: it has to look again
        return bool(flags[1])

    flags, answers = np.zeros(4, np.int64), []
    waits(flags, 10)
    flags[:] = 0
    thread = Thread(target=lambda: answers.append(waits(flags, 3 * 10**9)))
    thread.start()
    while flags[0] == 0:
        pass
    flags[1] = 1
    thread.join()
    assert answers == [True]


def test_sums_are_not_reordered() -> None:
    """Nor products fused into them: results are the same on every processor, and NumPy's."""

    @compiled
    def product(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> np.float32:
        total = np.float32(0)
        for i in range(left.size):
            total += left[i] * right[i]
        return total

    left, right = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    expected = np.float32(0)
    for one in left * right:
        expected += one
    assert product(left, right) == expected
