"""Which vectors a configured space means: found in the lake, or made by loading or training."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.active import active_contents
from data.allocators import release_unused
from data.catalog import SpaceRow, current_spaces, space_versions, version_key
from data.lake import Lake, Snapshot, table_of
from data.scans import table_batches
from data.shards import shard_paths
from data.vectors import ShardVectors, open_vectors
from data.version_names import named_version
from latentlake.errors import (
    ConfigError,
    QueryError,
    SpaceMismatchError,
    nearest_hint,
)
from models.encoders.registry import find_encoder, load_encoder, parse_options
from models.types import Modality
from tasks.stages.fitting import fit_space
from tasks.stages.heads import has_head, head_recipe, without_head
from tasks.stages.recipes import encoder_recipe, encoder_spec, space_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latentlake.settings import Settings, SpaceSettings
    from models.encoders.base import Encoder


_KINDS: Final = {Modality.IMAGE: "images", Modality.TEXT: "text", Modality.VECTOR: "vectors"}
"""The kind of source that holds items of a modality."""


def canonical_options(space: SpaceSettings) -> str:
    """Return the encoder's options, defaults filled in, as canonical JSON.

    Raises:
        ConfigError: an unknown encoder or option; the nearest known name is given.
    """
    options = parse_options(space.encoder, space.options)
    return json.dumps(options.model_dump(mode="json"), sort_keys=True)


def find_space(lake: Lake, settings: Settings, name: str) -> SpaceRow | None:
    """Return the version of a configured space that encoder, options and code fit, if one does.

    The current version goes first, then the waiting one, then the youngest. Neither the encoder's
    library nor its weights are loaded, so a run without news stays cheap.
    """
    versions = space_versions(lake, name)
    return next((space for space in versions if fits(settings, space)), None)


def fits(settings: Settings, space: SpaceRow) -> bool:
    """Tell whether a version is what the configuration asks for: encoder, options and code."""
    configured = settings.space(space.id.name)
    return (
        space.encoder == configured.encoder
        and space.options == canonical_options(configured)
        and space.recipe == space_recipe(settings, configured)
    )


def is_reproducible(settings: Settings, space: SpaceRow) -> bool:
    """Tell whether code and weights are still those that a version was made with."""
    made = {"encoder": space.encoder, "options": json.loads(space.options)}
    try:
        recipe = encoder_recipe(settings, settings.space(space.id.name).model_copy(update=made))
        return without_head(space.recipe) == recipe  # a head is kept, and does not change
    except ConfigError:  # its plug-in or its weights are no longer installed
        return False


def make_space(
    lake: Lake, settings: Settings, name: str, run_id: str, *, retrain: bool = False
) -> SpaceRow:
    """Load the space's encoder, training it first where it must be, and record the space.

    Beside a current version that has vectors the new one waits, until it is promoted. Where only
    the head is another, the encoder stays as it was trained, unless `retrain` is true.

    Raises:
        ConfigError: the encoder's modality is not that of the space's sources.
    """
    configured = settings.space(name)
    entry = find_encoder(configured.encoder)
    kind = settings.source(configured.sources[0]).kind
    modality = entry.modality_with(parse_options(configured.encoder, configured.options))
    if kind != _KINDS[modality]:
        raise ConfigError(
            f"space '{name}': encoder '{configured.encoder}' takes {modality}s, "
            f"its sources hold {kind}."
        )
    options = canonical_options(configured)
    recipe = space_recipe(settings, configured)
    artefact = None
    if entry.trainable or has_head(recipe):
        before = None if retrain else _same_encoder(lake, settings, name)
        artefact = fit_space(lake, settings, name, before)
    encoder = load_encoder(
        encoder_spec(lake, settings, configured.encoder, options, artefact, recipe)
    )
    row = _placed(lake, name, encoder.fingerprint) | {
        "space": name,
        "fingerprint": encoder.fingerprint,
        "encoder": configured.encoder,
        "options": options,
        "recipe": recipe,
        "modality": str(encoder.modality),
        "dim": encoder.dim,
        "metric": str(encoder.metric),
        "artefact": artefact,
        "details": json.dumps(encoder.describe(), sort_keys=True),
        "run_id": run_id,
        "recorded_at": datetime.now(UTC),
    }
    same = pc.field("fingerprint") == encoder.fingerprint
    others = [
        old | {"is_current": bool(old["is_current"]) and not row["is_current"], "is_waiting": False}
        for old in lake.read("spaces", where=(pc.field("space") == name) & ~same).to_pylist()
    ]
    lake.upsert("spaces", table_of("spaces", [row, *others]), run_id)
    return named_version(space_versions(lake), f"{name}@{encoder.fingerprint}")


def _placed(lake: Lake, name: str, fingerprint: str) -> dict[str, Any]:
    """Return where a version is filed, and whether readers see it at once."""
    versions = space_versions(lake, name)
    known = next((space for space in versions if space.id.fingerprint == fingerprint), None)
    fresh = version_key(name, fingerprint) if versions else name
    current = next((space for space in versions if space.is_current), None)
    # A version without vectors, as a killed run leaves it, is nothing to go on reading.
    is_current = current in (None, known) or not shard_paths(lake, current.id)
    key = known.key if known else fresh
    return {"key": key, "is_current": is_current, "is_waiting": not is_current}


def require_space(lake: Lake, settings: Settings, name: str) -> SpaceRow:
    """Return the lake's space that fits the configuration, or the very version that is named.

    Raises:
        SpaceMismatchError: the lake's space of this name was made by another encoder or version.
        QueryError: there is no space of this name yet.
    """
    if "@" in name:
        return named_version(space_versions(lake), name)
    found = find_space(lake, settings, name)
    if found is None:
        held = known_space(lake, name)
        raise SpaceMismatchError(
            name, held.id.fingerprint, f"another {settings.space(name).encoder}", "the lake's space"
        )
    return found


def retrain_space(lake: Lake, settings: Settings, name: str, run_id: str) -> SpaceRow:
    """Train a space's encoder and head anew on the present corpus, beside the old version.

    Raises:
        ConfigError: the space's encoder comes trained, and it has no head.
    """
    configured = settings.space(name)
    if not find_encoder(configured.encoder).trainable and not head_recipe(configured):
        raise ConfigError(
            f"space '{name}': encoder '{configured.encoder}' comes trained; leave out --retrain."
        )
    return make_space(lake, settings, name, run_id, retrain=True)


def live_encoder(lake: Lake, settings: Settings, space: SpaceRow) -> Encoder[Any, Any]:
    """Return the space's encoder, loaded once a process.

    Raises:
        SpaceMismatchError: it is another model than the one that made the space.
    """
    encoder = load_encoder(
        encoder_spec(lake, settings, space.encoder, space.options, space.artefact, space.recipe)
    )
    if encoder.fingerprint != space.id.fingerprint:
        raise SpaceMismatchError(
            space.id.name, space.id.fingerprint, encoder.fingerprint, "the lake's space"
        )
    return encoder


def known_space(lake: Lake, name: str, snapshot: Snapshot | None = None) -> SpaceRow:
    """Look up a space that the lake holds.

    Raises:
        QueryError: there is none; the nearest name is given.
    """
    spaces = current_spaces(lake, snapshot)
    if name not in spaces:
        listed = ", ".join(spaces) or "none yet"
        raise QueryError(f"no space '{name}'.{nearest_hint(name, spaces)} In the lake: {listed}.")
    return spaces[name]


def space_vectors(lake: Lake, settings: Settings, space: SpaceRow) -> ShardVectors:
    """Return the space's vectors of all contents that its sources hold now.

    What one stage has opened the next one takes over, as long as neither table has a new version.
    """
    sources = () if space.is_vocabulary else settings.space(space.id.name).sources
    contents = "tables/vocabulary" if space.is_vocabulary else "tables/items"
    files = (tuple(lake.paths(folder)) for folder in (contents, space.id.folder))
    key = (lake.uri, space.id, sources, *files)
    vectors = _opened.get(key)
    if vectors is None:
        active = _contents_of(lake, space, sources)
        vectors = open_vectors(shard_paths(lake, space.id), space.id.dim, active)
        _opened.clear()
        _opened[key] = vectors
        release_unused(vectors.rows)
    return vectors


def _contents_of(lake: Lake, space: SpaceRow, sources: tuple[str, ...]) -> Iterator[pa.Array]:
    """Yield the contents that a space has now: words, or what the items of its sources hold."""
    if space.is_vocabulary:
        yield active_contents(lake, space)
        return
    chosen = pa.array(sources, pa.string())
    columns = ["content_id", "source", "deleted"]
    for batch in table_batches(lake, "items", columns, ("source", chosen)):
        yield batch["content_id"].filter(pc.invert(batch["deleted"]))


_opened: dict[Any, ShardVectors] = {}
"""The last vectors that were opened: ids and a mask, no matrix."""


def _same_encoder(lake: Lake, settings: Settings, name: str) -> SpaceRow | None:
    """Return a version whose encoder, but not its head, is what is wanted, if there is one."""
    configured = settings.space(name)
    wanted = (configured.encoder, canonical_options(configured))
    recipe = encoder_recipe(settings, configured)
    for space in space_versions(lake, name):
        if (space.encoder, space.options) == wanted and without_head(space.recipe) == recipe:
            return space
    return None
