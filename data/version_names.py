"""What a person calls a version of a space: `cnn` is the current one, `cnn@1a2b` a certain one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentlake.errors import QueryError, nearest_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.catalog import SpaceRow


def named_version(versions: Sequence[SpaceRow], name: str) -> SpaceRow:
    """Return the version that a name means.

    Args:
        versions: all that there are, of all spaces.
        name: `space` for the current version, `space@fingerprint` for any; the beginning of the
            fingerprint will do where it is that of one version only.

    Raises:
        QueryError: no version is called so, or several are; the candidates are given.
    """
    space, _, prefix = name.partition("@")
    own = [version for version in versions if version.id.name == space]
    if not own:
        known = list(dict.fromkeys(version.id.name for version in versions))
        listed = ", ".join(known) or "none yet"
        raise QueryError(f"no space '{space}'.{nearest_hint(space, known)} In the lake: {listed}.")
    if "@" not in name:
        found = [version for version in own if version.is_current]
    else:
        found = [version for version in own if prefix and version.id.fingerprint.startswith(prefix)]
    if len(found) != 1:
        problem = f"several versions are called '{name}'" if found else f"no version '{name}'"
        raise QueryError(f"{problem}. Of space '{space}' there are: {candidates(found or own)}.")
    return found[0]


def candidates(versions: Sequence[SpaceRow]) -> str:
    """List versions by name and state."""
    return ", ".join(f"{version.version} ({state_of(version)})" for version in versions)


def state_of(version: SpaceRow) -> str:
    """Say what a version is to readers: "current", "waiting" or "former"."""
    if version.is_current:
        return "current"
    return "waiting" if version.is_waiting else "former"
