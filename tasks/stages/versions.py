"""Which versions of a space a run works on: the configured one, and what readers still see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from data.catalog import space_versions
from data.lake import table_of
from data.shards import shard_paths
from tasks.stages.spaces import find_space, fits, is_reproducible, make_space, retrain_space

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.settings import Settings


def prepare_versions(
    lake: Lake, settings: Settings, name: str, run_id: str, *, retrain: bool = False
) -> list[SpaceRow]:
    """Find or make the version that is configured, and return those that a run is to fill.

    While a version waits for a person, the current one is kept up to date beside it: readers have
    nothing else. It goes without where its model is no longer at hand.

    Raises:
        ConfigError: the encoder does not fit the sources, or cannot be trained anew.
    """
    if retrain:
        retrain_space(lake, settings, name, run_id)
    else:
        _settle(lake, settings, name, run_id)
    return [
        space
        for space in versions_at_work(lake, settings, name)
        if fits(settings, space) or is_reproducible(settings, space)
    ]


def versions_at_work(lake: Lake, settings: Settings, name: str) -> list[SpaceRow]:
    """Return the versions of a space that stages keep up to date, the configured one first.

    That is the waiting version where it fits the configuration, else the current one where that
    fits, else none. A current version beside a waiting one counts where promotion is manual: else
    the same run replaces it.
    """
    versions = space_versions(lake, name)
    current = next((space for space in versions if space.is_current), None)
    waiting = next((space for space in versions if space.is_waiting), None)
    if waiting is not None and fits(settings, waiting):
        is_kept = current is not None and settings.space(name).promote == "manual"
        return [waiting, current] if is_kept and current else [waiting]
    return [current] if current is not None and fits(settings, current) else []


def embedded_spaces(
    lake: Lake, settings: Settings, chosen: tuple[str, ...], *, vocabularies: bool = False
) -> list[str]:
    """Name the versions of the chosen spaces (by default all) that have vectors to work on.

    Args:
        lake: where they are.
        settings: which are configured.
        chosen: names; those of spaces of words, too.
        vocabularies: whether all includes the spaces of words.
    """
    names = [settings.space(name).name for name in chosen]
    if not chosen:
        names = [space.name for space in settings.spaces]
        names += [space.vocabulary_name for space in settings.spaces if vocabularies]
    found = []
    for name in names:
        versions = versions_at_work(lake, settings, name)
        plain = len(versions) == 1 and versions[0].is_current
        found += [
            name if plain else space.version for space in versions if shard_paths(lake, space.id)
        ]
    return found


def _settle(lake: Lake, settings: Settings, name: str, run_id: str) -> None:
    """Let the version that the configuration means wait or be current, and no other one wait."""
    found = find_space(lake, settings, name)
    if found is None:
        make_space(lake, settings, name, run_id)
        return
    waiting = next((space for space in space_versions(lake, name) if space.is_waiting), None)
    if waiting is not None and fits(settings, waiting):
        return
    wanted = replace(found, is_waiting=not found.is_current)
    if wanted == found and waiting is None:
        return
    here = pc.field("space") == name
    rows = [
        row | {"is_waiting": row["fingerprint"] == found.id.fingerprint and wanted.is_waiting}
        for row in lake.read("spaces", where=here).to_pylist()
    ]
    lake.upsert("spaces", table_of("spaces", rows), run_id)
