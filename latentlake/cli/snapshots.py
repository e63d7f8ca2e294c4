"""The lake that a configuration names, for commands that read it without SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.lake import Lake
from latentlake.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from data.lake import Snapshot
    from latentlake.settings import Settings


def open_lake(config: Path | None) -> tuple[Lake, Settings]:
    """Return the lake and its settings.

    Raises:
        ConfigError: the configuration is missing or wrong.
    """
    settings = load_settings(config)
    return Lake(settings.root), settings


def last_snapshot(config: Path | None) -> tuple[Lake, Settings, Snapshot]:
    """Return the lake, its settings and its last snapshot.

    Raises:
        ConfigError: the configuration is missing or wrong.
        LakeNotFoundError: no run has ended yet.
    """
    lake, settings = open_lake(config)
    return lake, settings, lake.snapshot()
