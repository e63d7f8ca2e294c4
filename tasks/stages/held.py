"""What one stage has stored and the next one reads, kept in the process where it is small."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

Thing = TypeVar("Thing")
_MOST_BYTES: Final = 64 * 2**20


class Held(Generic[Thing]):
    """The last thing of a kind that was stored, under a key that nothing else ever has."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[str, ...], Thing] | None = None

    def put(self, key: tuple[str, ...], thing: Thing, size_bytes: int) -> None:
        """Keep a thing in the place of the last one; nothing where it is large."""
        self._kept = (key, thing) if size_bytes <= _MOST_BYTES else None

    def get(self, key: tuple[str, ...]) -> Thing | None:
        """Return the thing of a key, None where another one is kept."""
        kept = self._kept
        return kept[1] if kept is not None and kept[0] == key else None
