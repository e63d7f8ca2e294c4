"""Names that follow from others."""

from __future__ import annotations


def vocabulary_name(space: str) -> str:
    """Return the name of the space that holds another one's words."""
    return f"{space}_vocabulary"
