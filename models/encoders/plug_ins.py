"""What installed packages announce as encoders; none of it is imported here."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Final

from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

ENTRY_POINT_GROUP: Final = "latentlake.encoders"


@lru_cache(maxsize=1)
def _announced(
    find: Callable[..., Iterable[metadata.EntryPoint]],
    path: tuple[str, ...],  # noqa: ARG001  part of the key
) -> tuple[metadata.EntryPoint, ...]:
    """Read what installed packages announce, once for each `sys.path`: it takes some 20 ms."""
    return tuple(find(group=ENTRY_POINT_GROUP))


def plug_ins(reserved: Container[str]) -> dict[str, metadata.EntryPoint]:
    """Find the announced plug-ins by name; imports none of them.

    Raises:
        ConfigError: one takes a name that is reserved, or two have the same.
    """
    found: dict[str, metadata.EntryPoint] = {}
    for entry in _announced(metadata.entry_points, tuple(sys.path)):
        if entry.name in reserved:
            raise ConfigError(
                f"{origin(entry)} announces an encoder '{entry.name}', which is built in: "
                "a plug-in needs a name of its own."
            )
        if entry.name in found and found[entry.name].value != entry.value:
            raise ConfigError(
                f"{origin(entry)} and {origin(found[entry.name])} both announce an encoder "
                f"'{entry.name}': uninstall one of them."
            )
        found[entry.name] = entry
    return found


def origin(entry: metadata.EntryPoint) -> str:
    """Name the package that announces a plug-in, for messages."""
    return f"plug-in '{entry.dist.name}'" if entry.dist is not None else f"plug-in '{entry.value}'"
