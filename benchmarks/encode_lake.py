"""What the encode_*.py benchmarks share: a lake of one space, and the machine's description."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from data.lake import Lake
from latentlake.settings import load_settings
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.ingesting import ingest_source
from tasks.stages.planning import plan_embedding
from tasks.stages.spaces import find_space, make_space

if TYPE_CHECKING:
    from pathlib import Path


def embed_seconds(project: Path, source: str, space: str) -> float:
    """Ingest a source into a new lake, and return what embedding it takes.

    The encoder is loaded before: it stays loaded in a process that runs for long.

    Args:
        project: a folder with a latentlake.toml.
        source: the source's name.
        space: the name of the space over it.
    """
    settings = load_settings(project / "latentlake.toml")
    shutil.rmtree(settings.root, ignore_errors=True)
    lake = Lake(settings.root)
    ingest_source(lake, settings, source, "run")
    row = find_space(lake, settings, space) or make_space(lake, settings, space, "run")
    began = time.monotonic()
    plan = plan_embedding(lake, settings, row)
    receipts = [
        receipt for group in plan.groups for receipt in encode_group(lake, settings, row, group)
    ]
    commit_embedding(lake, row, plan, receipts, "run")
    return time.monotonic() - began


def machine() -> dict[str, Any]:
    """Name processor, cores, libraries and commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "commit": commit,
        "libraries": {name: version(name) for name in ("torch", "openvino", "numpy")},
    }
