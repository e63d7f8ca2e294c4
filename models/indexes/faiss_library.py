"""The one door to FAISS: how it is loaded, how many threads it has, which wheel it came from.

No other module imports `faiss`. Two things must happen before the first import or in every
thread, and are easy to forget anywhere else:

* The OpenBLAS inside the wheels (0.3.15) misreads processors newer than itself: some get its slow
  Cooper Lake kernels (40 GFLOP/s a core on Zen 5, where the SkylakeX ones reach 190). It reads
  `OPENBLAS_CORETYPE` once, when the library is loaded.
* `omp_set_num_threads` holds for the calling thread alone, so a worker thread that never called it
  takes every core.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from latentlake.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

BLAS_VARIABLE: Final = "OPENBLAS_CORETYPE"
_BLAS_CORE: Final = "SkylakeX"
_BLAS_FLAGS: Final = frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})
_DISTRIBUTIONS: Final = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss")


class _Threads(threading.local):
    """How many OpenMP threads were last asked of FAISS in this Python thread."""

    applied: int | None = None


class _Budget:
    """How many OpenMP threads each Python thread may use; None leaves OpenMP's own default."""

    wanted: int | None = None


_threads = _Threads()


@dataclass(frozen=True, slots=True)
class FaissInstallation:
    """What `latentlake doctor` says about FAISS.

    Attributes:
        distributions: installed packages that bring the module, as "name version".
        version: the version that the module itself states; None where it cannot be imported.
        gpus: CUDA devices that FAISS sees.
        compile_options: FAISS's own words, such as "OPTIMIZE AVX2 AVX512".
        blas_core: the value of `OPENBLAS_CORETYPE`, None where it is left to detection.
        remedy: what to type to get a sound installation; None where it is sound.
    """

    distributions: tuple[str, ...]
    version: str | None
    gpus: int
    compile_options: str
    blas_core: str | None
    remedy: str | None


@cache
def processor_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the processor's feature flags in Linux's words; empty on other systems."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(flags, "").split())


def blas_core(flags: frozenset[str]) -> str | None:
    """Return the OpenBLAS kernels to force on a processor, None to leave it to detection."""
    return _BLAS_CORE if flags >= _BLAS_FLAGS else None


@cache
def _module() -> Any:
    core = blas_core(processor_flags())
    if core is not None:
        os.environ.setdefault(BLAS_VARIABLE, core)
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("vector search", "faiss", "'.[cpu]'") from error
    return faiss


def library() -> Any:
    """Return the module `faiss`, set up for the calling thread.

    Raises:
        MissingExtraError: no FAISS wheel is installed.
    """
    module = _module()
    if _Budget.wanted is not None and _threads.applied != _Budget.wanted:
        module.omp_set_num_threads(_Budget.wanted)
        _threads.applied = _Budget.wanted
    return module


def cuda_library() -> Any:
    """Return the module `faiss`, which can use a GPU here.

    Raises:
        ConfigError: it is a build for processors, or sees no CUDA device.
        MissingExtraError: no FAISS wheel is installed.
    """
    module = library()
    if not hasattr(module, "StandardGpuResources"):
        raise ConfigError(
            "index.device is 'cuda', but the installed FAISS is a build for processors: "
            "pip uninstall -y faiss-cpu, then pip install '.[gpu]', which brings faiss-gpu; "
            "or set index.device = 'cpu'."
        )
    if module.get_num_gpus() == 0:
        raise ConfigError(
            "index.device is 'cuda', but FAISS sees no CUDA device: 'nvidia-smi' should list one, "
            "and CUDA_VISIBLE_DEVICES not hide it; or set index.device = 'cpu'."
        )
    return module


def use_threads(threads: int) -> None:
    """Give FAISS this many OpenMP threads in each Python thread that calls it from now on.

    Raises:
        ConfigError: fewer than one.
    """
    if threads < 1:
        raise ConfigError(f"FAISS needs at least 1 thread, not {threads}.")
    _Budget.wanted = threads


@contextmanager
def single_thread() -> Iterator[Any]:
    """Lend the module with one OpenMP thread, for steps whose result depends on their number."""
    module = library()
    before = module.omp_get_max_threads()
    module.omp_set_num_threads(1)
    try:
        yield module
    finally:
        module.omp_set_num_threads(before)


def _installed() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _remedy(names: list[str], *, importable: bool) -> str | None:
    if len(names) > 1:
        return (
            f"{' and '.join(names)} write the same module 'faiss' over each other: "
            f"pip uninstall -y {' '.join(names)}, then pip install '.[cpu]' or pip install '.[gpu]'"
        )
    if not importable:
        uninstall = f"pip uninstall -y {names[0]}, then " if names else ""
        return f"FAISS cannot be imported: {uninstall}pip install '.[cpu]' (or '.[gpu]' with CUDA)"
    return None


def installation() -> FaissInstallation:
    """Describe the installed FAISS without raising, whatever its state."""
    found = _installed()
    try:
        module = library()
    except MissingExtraError:
        module = None
    return FaissInstallation(
        distributions=tuple(f"{name} {version}" for name, version in found.items()),
        version=None if module is None else str(module.__version__),
        gpus=0 if module is None else int(module.get_num_gpus()),
        compile_options="" if module is None else str(module.get_compile_options()).strip(),
        blas_core=os.environ.get(BLAS_VARIABLE),
        remedy=_remedy(list(found), importable=module is not None),
    )
