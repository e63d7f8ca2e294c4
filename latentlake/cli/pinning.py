"""A lake held still at a snapshot, and its spaces, for commands that read without SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.catalog import current_spaces
from data.maintenance.asof import resolve_snapshot
from data.pinned import PinnedLake
from latentlake.cli.snapshots import open_lake
from tasks.stages.spaces import known_space

if TYPE_CHECKING:
    from pathlib import Path

    from data.catalog import SpaceRow
    from latentlake.settings import Settings


def pinned_spaces(
    config: Path | None, name: str | None, as_of: str | None = None
) -> tuple[PinnedLake, Settings, list[SpaceRow]]:
    """Return the lake at a snapshot, by default the last, its settings, and one space or all.

    Spaces of words are left out: their contents are no items.

    Raises:
        ConfigError: the configuration is missing or wrong.
        LakeNotFoundError: no run has ended yet.
        QueryError: there is no such space or state.
    """
    lake, settings = open_lake(config)
    pinned = PinnedLake(lake, resolve_snapshot(lake, as_of) if as_of else lake.snapshot())
    if name is not None:
        return pinned, settings, [known_space(pinned, name)]
    spaces = [space for space in current_spaces(pinned).values() if not space.is_vocabulary]
    return pinned, settings, spaces
