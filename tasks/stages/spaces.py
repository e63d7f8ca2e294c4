"""Which vectors a configured space means: found in the lake, or made by loading or training."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.active import active_contents
from data.catalog import (
    SpaceRow,
    current_spaces,
    space_versions,
    version_key,
)
from data.content import content_id
from data.lake import Lake, Snapshot, table_of
from data.shards import shard_paths
from data.vectors import ShardVectors, open_vectors
from data.version_names import named_version
from latentlake.errors import (
    BadInputError,
    ConfigError,
    QueryError,
    SpaceMismatchError,
    nearest_hint,
)
from latentlake.progress import report_progress
from models.encoders.registry import find_encoder, load_encoder, parse_options
from models.types import Modality
from tasks.stages.budget import working_on
from tasks.stages.contents import ContentReader, item_of, refs_of, view_first_places
from tasks.stages.recipes import encoder_recipe, encoder_spec, with_places

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
        and space.recipe == encoder_recipe(settings, configured)
    )


def is_reproducible(settings: Settings, space: SpaceRow) -> bool:
    """Tell whether code and weights are still those that a version was made with."""
    made = {"encoder": space.encoder, "options": json.loads(space.options)}
    try:
        return space.recipe == encoder_recipe(
            settings, settings.space(space.id.name).model_copy(update=made)
        )
    except ConfigError:  # its plug-in or its weights are no longer installed
        return False


def make_space(lake: Lake, settings: Settings, name: str, run_id: str) -> SpaceRow:
    """Load the space's encoder, training it first where it must be, and record the space.

    Beside a current version that has vectors the new one waits, until it is promoted.

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
    artefact = _train(lake, settings, name) if entry.trainable else None
    encoder = load_encoder(encoder_spec(lake, settings, configured.encoder, options, artefact))
    row = _placed(lake, name, encoder.fingerprint) | {
        "space": name,
        "fingerprint": encoder.fingerprint,
        "encoder": configured.encoder,
        "options": options,
        "recipe": encoder_recipe(settings, configured),
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
    """Train a space's encoder anew on the present corpus; the old version stays beside the new.

    Raises:
        ConfigError: the space's encoder comes trained.
    """
    encoder = settings.space(name).encoder
    if not find_encoder(encoder).trainable:
        raise ConfigError(
            f"space '{name}': encoder '{encoder}' comes trained; leave out --retrain."
        )
    return make_space(lake, settings, name, run_id)


def live_encoder(lake: Lake, settings: Settings, space: SpaceRow) -> Encoder[Any, Any]:
    """Return the space's encoder, loaded once a process.

    Raises:
        SpaceMismatchError: it is another model than the one that made the space.
    """
    encoder = load_encoder(
        encoder_spec(lake, settings, space.encoder, space.options, space.artefact)
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


def active_items(lake: Lake, sources: tuple[str, ...], columns: list[str]) -> pa.Table:
    """Return columns of the items that these sources hold now, in order of source and place."""
    chosen = pa.array(sources, pa.string())
    order = ["source", "file", "position"]
    table = lake.read(
        "items",
        where=~pc.field("deleted"),
        within=("source", chosen),
        columns=list(dict.fromkeys([*order, *columns])),
    )
    return table.sort_by([(column, "ascending") for column in order])


def space_vectors(lake: Lake, settings: Settings, space: SpaceRow) -> ShardVectors:
    """Return the space's vectors of all contents that its sources hold now.

    What one stage has opened the next one takes over, as long as neither table has a new version.
    """
    sources = () if space.is_vocabulary else settings.space(space.id.name).sources
    contents = "tables/vocabulary" if space.is_vocabulary else "tables/items"
    tables = [lake.delta(folder) for folder in (contents, space.id.folder)]
    states = [(table.metadata().id, table.version()) if table else None for table in tables]
    key = (lake.uri, space.id, sources, *states)
    vectors = _opened.get(key)
    if vectors is None:
        active = _contents_of(lake, space, sources)
        vectors = open_vectors(shard_paths(lake, space.id), space.id.dim, active)
        _opened.clear()
        _opened[key] = vectors
    return vectors


def _contents_of(lake: Lake, space: SpaceRow, sources: tuple[str, ...]) -> pa.Array:
    if space.is_vocabulary:
        return active_contents(lake, space)
    live, within = ~pc.field("deleted"), ("source", pa.array(sources, pa.string()))
    items = lake.read("items", where=live, within=within, columns=["content_id"])
    return items["content_id"].combine_chunks()


_opened: dict[Any, ShardVectors] = {}
"""The last vectors that were opened: ids and a mask, no matrix."""


def _train(lake: Lake, settings: Settings, name: str) -> str:
    """Train a space's encoder on what its sources hold now; return the model's folder."""
    configured = settings.space(name)
    encoder_type = find_encoder(configured.encoder).load_type()
    options = with_places(settings, configured.options)
    with lake.store.scratch(f"models/{name}/_training") as work:
        encoder_type.train(
            _contents(lake, settings, name),
            parse_options(configured.encoder, options),
            work,
            lambda step, done: report_progress(f"train {name}: {step}", int(100 * done), 100, "%"),
        )
        made = (path for path in sorted(work.rglob("*")) if path.is_file())
        digest = content_id("".join(content_id(path.read_bytes()) for path in made))[:16]
        final = f"models/{name}/{digest}"
        lake.store.publish(work, final, "model")
    return final


def _contents(lake: Lake, settings: Settings, name: str) -> Iterator[Any]:
    """Yield the contents of a space's sources, as an encoder takes them, in order of place."""
    reader = ContentReader(settings)
    with working_on(lake, settings, f"train-{name}") as work:
        view_first_places(work, lake, settings.space(name).sources)
        for batch in work.stream("FROM first_places ORDER BY source, file, position, key"):
            for _, load in reader.payloads(list(refs_of(batch))):
                try:
                    yield item_of(load())
                except BadInputError:  # gone since (the next ingest sorts it out), or no picture
                    continue
