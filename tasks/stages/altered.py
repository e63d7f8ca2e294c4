"""Altered copies of a space's contents, encoded as the contents themselves were."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latentlake.errors import BadInputError, ConfigError
from models.analysis.augmentations import IMAGES, TEXTS, altered_image, altered_text
from tasks.stages.contents import CONTENT_REFS, ContentReader, ContentRef, item_of, refs_of
from tasks.stages.embedding import Progress, encode_contents
from tasks.stages.spaces import live_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.settings import Settings
    from models.types import Matrix, RowIds
    from tasks.stages.contents import Load, Payload

_WAYS: Final = {"image": IMAGES, "text": TEXTS}


@dataclass(frozen=True, slots=True)
class Altered:
    """Copies with what they are copies of.

    Attributes:
        contents: ids of the originals.
        originals: (copies,) int64, the place of each one's content among these.
        ways: (copies,) how each was altered.
        vectors: (copies, dim) float32.
    """

    contents: pa.Array
    originals: RowIds
    ways: tuple[str, ...]
    vectors: Matrix

    @property
    def count(self) -> int:
        """How many copies."""
        return len(self.ways)


def altered_vectors(lake: Lake, settings: Settings, space: SpaceRow, contents: pa.Array) -> Altered:
    """Alter contents in every way there is, and encode the copies.

    What is drawn by lot depends on the content, the way and `run.seed` alone. Contents that have
    gone, and texts that a way leaves as they are, have no copy.

    Args:
        lake: knows where the contents are.
        settings: of the sources.
        space: whose encoder.
        contents: ids, each once.

    Raises:
        ConfigError: the space holds vectors or words, which nobody can alter.
        SpaceMismatchError: the space was encoded by another model than the configured one.
    """
    ways = _WAYS.get(space.modality)
    if ways is None:
        raise ConfigError(
            f"space '{space.label}' holds {space.modality}s, of which nobody can make altered "
            "copies: set duplicates.threshold by hand."
        )
    refs = first_places(lake, settings.space(space.id.name).sources, contents)
    encoder = live_encoder(lake, settings, space)
    planned = len(refs) * len(ways)
    payloads = _copies(ContentReader(settings), refs, ways, settings.run.seed)
    progress = Progress(f"calibrate {space.label}", planned)
    encoded = encode_contents(encoder, settings, payloads, planned, progress)
    names = [name.partition("/") for name in encoded.content_ids]
    places = pc.index_in(pa.array([name[0] for name in names], pa.string()), value_set=contents)
    originals = places.to_numpy(zero_copy_only=False).astype(np.int64)
    return Altered(contents, originals, tuple(name[2] for name in names), encoded.vectors)


def first_places(lake: Lake, sources: tuple[str, ...], contents: pa.Array) -> list[ContentRef]:
    """Return where each content comes first, in the order of places."""
    read = [*CONTENT_REFS.names, "deleted"]
    rows = lake.read("items", within=("content_id", contents), columns=read)
    live = pc.and_(
        pc.invert(rows["deleted"]), pc.is_in(rows["source"], value_set=pa.array(sources))
    )
    order = [(name, "ascending") for name in ("source", "file", "position", "key")]
    first: dict[str, ContentRef] = {}
    for ref in refs_of(rows.filter(live).sort_by(order)):
        first.setdefault(ref.content_id, ref)
    return list(first.values())


def _copies(
    reader: ContentReader, refs: list[ContentRef], ways: tuple[str, ...], seed: int
) -> Iterator[tuple[ContentRef, Load]]:
    """Yield every content once a way, named `<content>/<way>`, with a function that alters it."""
    for ref, load in reader.payloads(refs):
        once = cache(load)  # read once, however many copies are made of it
        for way in ways:
            name = f"{ref.content_id}/{way}"
            copy = ContentRef(name, ref.source, ref.file, ref.key, ref.position, ref.size_bytes)
            yield copy, _altering(once, way, lots_of(seed, ref.content_id, way))


def lots_of(seed: int, content_id: str, way: str) -> np.random.Generator:
    """Return what draws for a copy, whatever others are made."""
    return np.random.default_rng([seed, *way.encode(), int(content_id, 16)])


def _altering(load: Load, way: str, generator: np.random.Generator) -> Load:
    def altered() -> Payload:
        payload = load()
        if isinstance(payload, bytes):
            return altered_image(item_of(payload), way, generator)
        made = altered_text(payload, way, generator)
        if made == payload:
            raise BadInputError(f"{way} leaves it as it is")
        return made

    return altered
