"""The checks behind `latentlake doctor`; each answers whatever the state of the machine."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from latentlake.errors import ConfigError, LakeNotFoundError, LatentlakeError, StoreError
from latentlake.settings import Settings, find_config, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

State = Literal["ok", "warn", "fail"]

_LIBRARIES: Final = ("pyarrow", "duckdb", "deltalake", "prefect", "torch", "gensim")
_EXTRAS: Final = {
    "prefect-dask": "dask",
    "botocore": "s3",
    "sentence-transformers": "transformers",
    "timm": "timm",
    "torchvision": "torchvision",
    "open_clip_torch": "open-clip",
}
_INSTALL: Final = "pip install -c constraints.txt -e '.[cpu]' in the checkout"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        subject: what.
        state: "ok", "warn" (works, but) or "fail" (does not work).
        finding: what it is like.
        remedy: what to do; empty where nothing is to be done.
    """

    subject: str
    state: State
    finding: str
    remedy: str = ""


def check_all(config: Path | None) -> list[Check]:
    """Look at everything; a check that breaks is a finding itself."""
    checks: list[Check] = []
    for look in (_python, _libraries, _encoders, _faiss, _torch, _openvino, _processor, _prefect):
        checks += guarded(look)
    return checks + list(_project(config))


def checks_table(checks: Sequence[Check]) -> pa.Table:
    """Return one row a check."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in ("subject", "state", "finding", "remedy")])
    return pa.Table.from_pylist([asdict(check) for check in checks], schema)


def guarded(look: Callable[[], Iterator[Check]]) -> list[Check]:
    """Return what a look finds; one that breaks is a finding itself."""
    try:
        return list(look())
    except Exception as error:  # noqa: BLE001  a doctor names what is broken and goes on
        subject = look.__name__.lstrip("_")
        return [Check(subject, "fail", f"{type(error).__name__}: {error}", _INSTALL)]


def _python() -> Iterator[Check]:
    found = f"{platform.python_version()} in {sys.prefix}, {platform.system()} {platform.machine()}"
    if sys.version_info < (3, 11):  # noqa: UP036  who runs this may not have installed it
        yield Check("Python", "fail", found, "install Python 3.11 or newer")
    else:
        yield Check("Python", "ok", found)


def _libraries() -> Iterator[Check]:
    versions = {name: _version(name) for name in ("latentlake", *_LIBRARIES)}
    present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        yield Check("libraries", "fail", f"missing: {', '.join(missing)}", _INSTALL)
    yield Check("libraries", "ok", present)
    extras = [f"{name} {_version(name)}" for name in _EXTRAS if _version(name)]
    yield Check("extras", "ok", ", ".join(extras) or f"none of {', '.join(_EXTRAS.values())}")


def _encoders() -> Iterator[Check]:
    from models.encoders.adapters.families import FAMILIES
    from models.encoders.registry import encoder_names

    families = (f"{family.name}:{family.model}" for family in FAMILIES.values())
    yield Check("encoders", "ok", ", ".join((*encoder_names(), *families)))


def _faiss() -> Iterator[Check]:
    from models.indexes.faiss_library import installation

    found = installation()
    if found.remedy is not None:
        distributions = ", ".join(found.distributions) or "not installed"
        yield Check("FAISS", "fail", distributions, found.remedy)
        return
    device = f"{found.gpus} CUDA devices" if found.gpus else "CPU"
    yield Check("FAISS", "ok", f"{', '.join(found.distributions)} on {device}")
    if found.blas_core:
        yield Check("OpenBLAS", "ok", f"OPENBLAS_CORETYPE={found.blas_core}")
    else:
        yield Check("OpenBLAS", "ok", "kernels chosen by detection (no AVX-512 to insist on)")


def _torch() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("torch", "ok", f"{torch.__version__} on {', '.join(names)}")
    elif torch.version.cuda and Path("/proc/driver/nvidia").exists():
        yield Check(
            "torch",
            "warn",
            f"{torch.__version__} sees no device, though an NVIDIA driver is loaded",
            "compare 'nvidia-smi' with torch.version.cuda = " + torch.version.cuda,
        )
    else:
        yield Check("torch", "ok", f"{torch.__version__} on CPU")


def _openvino() -> Iterator[Check]:
    found = _version("openvino")
    if found is None:
        finding = "not installed: torch computes networks on the processor, several times slower"
        yield Check("OpenVINO", "warn", finding, _INSTALL)
        return
    import openvino

    precisions = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    half = "bfloat16" if "BF16" in precisions else "float32 (no bfloat16 here)"
    yield Check("OpenVINO", "ok", f"{found}; on this processor 'half' is {half}")


def _processor() -> Iterator[Check]:
    from models.indexes.faiss_library import processor_flags

    flags = processor_flags()
    fast = [
        name
        for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("bf16", "avx512_bf16"))
        if flag in flags
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [
        f"{n}={os.environ[n]}" for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if n in os.environ
    ]
    finding = f"{cores} usable cores, {', '.join(fast) or 'no AVX2 known'}"
    if limits:
        yield Check(
            "processor",
            "warn",
            f"{finding}; {', '.join(limits)} in the environment",
            "unset them: run.threads in latentlake.toml is the one budget",
        )
    else:
        yield Check("processor", "ok", finding)


def _prefect() -> Iterator[Check]:
    found, fastapi = _version("prefect"), _version("fastapi")
    if found is None:
        yield Check("Prefect", "fail", "not installed", _INSTALL)
        return
    if fastapi and tuple(map(int, fastapi.split(".")[:2])) >= (0, 151):
        yield Check(
            "Prefect",
            "fail",
            f"{found} with fastapi {fastapi}, which breaks its server",
            "pip install 'fastapi>=0.139,<0.151'",
        )
        return
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if url is None:
        yield Check("Prefect", "ok", f"{found}, a server of its own for each run")
    elif _answers(url):
        yield Check("Prefect", "ok", f"{found}, server {url}")
    else:
        yield Check(
            "Prefect",
            "fail",
            f"{found}, but no server answers at {url}",
            "'prefect server start', or unset PREFECT_API_URL for a server of its own",
        )


def _answers(url: str) -> bool:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=3) as response:  # noqa: S310  the user's own URL
            return bool(response.status == 200)  # noqa: PLR2004
    except (URLError, OSError, ValueError):
        return False


def _project(config: Path | None) -> Iterator[Check]:
    try:
        path = config or find_config(Path.cwd())
    except LatentlakeError:
        yield Check("project", "ok", "none in this folder or above", "'latentlake init' begins one")
        return
    try:
        settings = load_settings(path)
        for space in settings.spaces:
            _check_encoder(space.encoder, space.options)
    except LatentlakeError as error:
        yield Check("configuration", "fail", str(error), f"correct {path}")
        return
    names = f"{len(settings.sources)} sources, {len(settings.spaces)} spaces"
    if settings.sources and settings.spaces:
        yield Check("configuration", "ok", f"{path}: {names}")
    else:
        yield Check("configuration", "warn", f"{path}: {names}", "add a source and a space to it")
    yield from _places(settings)
    yield _lake(settings)


def _check_encoder(name: str, options: dict[str, object]) -> None:
    """Check options and packages; the encoder itself is not imported."""
    from models.encoders.registry import find_encoder, parse_options

    parse_options(name, options)
    find_encoder(name).recipe()


def _places(settings: Settings) -> Iterator[Check]:
    for source in settings.sources:
        place = settings.resolve(source.uri)
        is_pattern = any(character in place for character in "*?[") or "://" in place
        if not is_pattern and not Path(place).exists():
            yield Check(f"source {source.name}", "fail", f"{place} is not there", "correct its uri")


def _lake(settings: Settings) -> Check:
    from data.catalog import connect
    from data.lake import Lake

    root = settings.root
    try:
        lake = Lake(root)
        snapshot = lake.snapshot()
        with connect(lake, snapshot) as connection:
            views = ("items", "duplicates", "clusters", "anomalies", "neighbours", "runs")
            counted = connection.sql("SELECT count(*) FROM items").fetchall()[0][0]
            for view in views:
                connection.view(view).limit(1).fetchall()
    except LakeNotFoundError:
        return Check("lake", "ok", f"{root}: none yet", "'latentlake run' makes it")
    except (ConfigError, StoreError) as error:
        return Check("lake", "fail", str(error), "'latentlake doctor' shows when it is mended")
    except Exception as error:  # noqa: BLE001  whatever is wrong with the files is the finding
        message = " ".join(str(error).split())
        return Check(
            "lake", "fail", f"{root}: {message}", "restore its files, or run into a new root"
        )
    if "://" not in root and not os.access(root, os.W_OK):
        return Check("lake", "warn", f"{root}: read-only", "runs will not be able to write")
    return Check("lake", "ok", f"{root}: snapshot {snapshot.number}, {counted:,} items")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
