"""What the two sample scripts share: the record of what was planted, and an even choice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


@dataclass(slots=True)
class Planted:
    """What was put into one source on purpose; names are item keys or paths in the source."""

    items: int = 0
    exact: list[dict[str, str]] = field(default_factory=list)
    near: list[dict[str, str | float]] = field(default_factory=list)
    outliers: list[str] = field(default_factory=list)
    quarantined: list[dict[str, str | int]] = field(default_factory=list)


def spread(values: Sequence[T], count: int) -> list[T]:
    """Take `count` values at even distances, the first one included."""
    return [values[i * len(values) // count] for i in range(count)]
