"""Names that follow from others, and those that the CLI and the settings share."""

from __future__ import annotations

from typing import Final, Literal, get_args

Rule = Literal["greedy-cover", "components", "first-seen"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
"""Of removal; see `tasks.stages.rules`."""


def vocabulary_name(space: str) -> str:
    """Return the name of the space that holds another one's words."""
    return f"{space}_vocabulary"
