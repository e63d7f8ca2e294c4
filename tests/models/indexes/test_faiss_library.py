from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from latentlake.errors import ConfigError
from models.indexes.faiss_library import (
    blas_core,
    installation,
    library,
    processor_flags,
    single_thread,
    use_threads,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AVX512 = "fpu avx2 avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    before = library().omp_get_max_threads()
    yield
    use_threads(before)


def seen_in_a_new_thread() -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(library().omp_get_max_threads()))
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.usefixtures("threads_as_before")
def test_the_number_of_threads_holds_in_every_python_thread() -> None:
    for count in (1, 3):
        use_threads(count)
        assert seen_in_a_new_thread() == library().omp_get_max_threads() == count
    with single_thread() as faiss:
        assert faiss.omp_get_max_threads() == 1
    assert library().omp_get_max_threads() == 3


def test_no_threads_at_all_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at least 1 thread, not 0"):
        use_threads(0)


@pytest.mark.parametrize(
    ("cpuinfo", "core"),
    [
        (f"processor : 0\nflags\t\t: {AVX512}\n\nprocessor : 1\nflags\t\t: {AVX512}\n", "SkylakeX"),
        ("processor : 0\nflags\t\t: fpu avx2 avx512f\n", None),
        ("processor : 0\nFeatures\t: fp asimd\n", None),
    ],
)
def test_the_processor_decides_on_the_kernels(
    cpuinfo: str, core: str | None, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert blas_core(processor_flags(tmp_path / "cpuinfo")) == core
    assert processor_flags(tmp_path / "missing") == frozenset()


@pytest.mark.parametrize("chosen", [None, "Haswell"])
def test_the_users_choice_of_kernels_wins(chosen: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    code = "from models.indexes.faiss_library import *; print(installation().blas_core)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | ({"OPENBLAS_CORETYPE": chosen} if chosen else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(chosen or blas_core(processor_flags()))


def install(folder: Path, *names: str) -> None:
    for name in names:
        info = folder / f"{name.replace('-', '_')}-1.15.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.15.0\n")


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("faiss-cpu",), None),
        (("faiss-gpu",), None),
        (("faiss-cpu", "faiss-gpu"), "pip uninstall -y faiss-cpu faiss-gpu, then pip install"),
    ],
)
def test_two_wheels_of_one_module_are_noticed(
    names: tuple[str, ...], remedy: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library()  # the module itself stays importable: only the wheels' metadata differ
    install(tmp_path, *names)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = installation()
    assert found.distributions == tuple(f"{name} 1.15.0" for name in names)
    assert found.version is not None
    assert (found.remedy is None) if remedy is None else (remedy in (found.remedy or ""))


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        ((), "FAISS cannot be imported: pip install '.[cpu]'"),
        (("faiss-cpu",), "FAISS cannot be imported: pip uninstall -y faiss-cpu, then pip install"),
    ],
)
def test_a_missing_module_is_told_with_its_remedy(
    names: tuple[str, ...], remedy: str, tmp_path: Path
) -> None:
    install(tmp_path, *names)
    code = """
import sys
import models.indexes.faiss_library as faiss_library
sys.modules["faiss"] = None
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [sys.argv[1]]
found = faiss_library.installation()
print(found.version, found.gpus, found.remedy)
try:
    faiss_library.library()
except faiss_library.MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    told, raised = done.stdout.splitlines()
    assert told.startswith(f"None 0 {remedy}")
    assert raised == "vector search needs the package 'faiss': pip install '.[cpu]'"
