"""Which space a search looks in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data.catalog import SpaceRow, current_spaces
from latentlake.errors import QueryError
from models.encoders.registry import find_encoder
from tasks.stages.spaces import known_space

if TYPE_CHECKING:
    from data.lake import Lake, Snapshot


def space_to_search(
    lake: Lake, snapshot: Snapshot, name: str | None, modality: str, *, words: bool
) -> SpaceRow:
    """Return the space that was named, or the only one that fits.

    Args:
        lake: where to look.
        snapshot: as of when.
        name: the space a user asked for.
        modality: what the query is.
        words: whether the query is words, which some spaces of images read as well.

    Raises:
        QueryError: the named space does not fit, several do, or none.
    """
    if name is not None:
        return _named(known_space(lake, name, snapshot), modality, words=words)
    spaces = current_spaces(lake, snapshot)
    fitting = [space for space in spaces.values() if space.modality == modality]
    if words and not fitting:
        fitting = [space for space in spaces.values() if reads_words(space)]
    if len(fitting) > 1:
        listed = ", ".join(space.id.name for space in fitting)
        kind = fitting[0].modality
        raise QueryError(f"several spaces hold {kind}s; name one of them: {listed}.")
    if not fitting:
        listed = ", ".join(f"{s.id.name} ({s.modality}s)" for s in spaces.values())
        raise QueryError(f"the lake has no space of {modality}s, only: {listed or 'nothing'}.")
    return fitting[0]


def reads_words(space: SpaceRow) -> bool:
    """Tell whether a space of images can be searched by words, as its encoder's entry says."""
    return space.modality == "image" and find_encoder(space.encoder).reads_queries


def _named(space: SpaceRow, modality: str, *, words: bool) -> SpaceRow:
    if space.modality == modality or (words and (space.is_vocabulary or reads_words(space))):
        return space
    name = space.id.name
    if words:
        raise QueryError(
            f"space '{name}' holds {space.modality}s, and its encoder '{space.encoder}' does not "
            "read words: look for an image or an item, or in a space by open_clip."
        )
    raise QueryError(f"space '{name}' holds {space.modality}s, not {modality}s.")
