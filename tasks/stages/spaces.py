"""Which vectors a configured space means: found in the lake, or made by loading or training."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from data.allocators import release_unused
from data.catalog import SpaceRow, current_spaces
from data.content import content_id
from data.lake import Lake, Snapshot, table_of
from data.scans import table_batches
from data.shards import shard_paths
from data.stores.copies import cache_folder
from data.vectors import ShardVectors, open_vectors
from latentlake.errors import ConfigError, QueryError, SpaceMismatchError, nearest_hint
from latentlake.progress import report_progress
from models.encoders.base import EncoderSpec
from models.encoders.registry import find_encoder, load_encoder, parse_options
from tasks.stages.budget import working_on
from tasks.stages.contents import ContentGoneError, ContentReader, refs_of, view_first_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latentlake.settings import Settings, SpaceSettings
    from models.encoders.base import Encoder


def canonical_options(space: SpaceSettings) -> str:
    """Return the encoder's options, defaults filled in, as canonical JSON.

    Raises:
        ConfigError: an unknown encoder or option; the nearest known name is given.
    """
    options = parse_options(space.encoder, space.options)
    return json.dumps(options.model_dump(mode="json"), sort_keys=True)


def find_space(lake: Lake, settings: Settings, name: str) -> SpaceRow | None:
    """Return the lake's space for a configured name, if encoder, options and code still fit.

    Neither the encoder's library nor its weights are loaded, so a run without news stays cheap.
    """
    configured = settings.space(name)
    found = current_spaces(lake).get(name)
    if found is None or found.encoder != configured.encoder:
        return None
    fits = found.options == canonical_options(configured)
    return found if fits and found.recipe == _recipe(settings, configured) else None


def make_space(lake: Lake, settings: Settings, name: str, run_id: str) -> SpaceRow:
    """Load the space's encoder, training it first where it must be, and record the space.

    A space of another fingerprint stays in the lake, beside this one, and is no longer current.

    Raises:
        ConfigError: the encoder's modality is not that of the space's sources.
    """
    configured = settings.space(name)
    entry = find_encoder(configured.encoder)
    kind = settings.source(configured.sources[0]).kind
    modality = entry.modality_with(parse_options(configured.encoder, configured.options))
    if (modality == "image") != (kind == "images"):
        raise ConfigError(
            f"space '{name}': encoder '{configured.encoder}' takes {modality}s, "
            f"its sources hold {kind}."
        )
    options = canonical_options(configured)
    artefact = _train(lake, settings, name) if entry.trainable else None
    encoder = load_encoder(_spec(lake, settings, configured.encoder, options, artefact))
    row = {
        "space": name,
        "fingerprint": encoder.fingerprint,
        "encoder": configured.encoder,
        "options": options,
        "recipe": _recipe(settings, configured),
        "modality": str(encoder.modality),
        "dim": encoder.dim,
        "metric": str(encoder.metric),
        "artefact": artefact,
        "details": json.dumps(encoder.describe(), sort_keys=True),
        "is_current": True,
        "run_id": run_id,
        "recorded_at": datetime.now(UTC),
    }
    others = [
        old | {"is_current": False}
        for old in lake.read("spaces", where=pc.field("space") == name).to_pylist()
        if old["fingerprint"] != encoder.fingerprint
    ]
    lake.upsert("spaces", table_of("spaces", [row, *others]), run_id)
    return current_spaces(lake)[name]


def require_space(lake: Lake, settings: Settings, name: str) -> SpaceRow:
    """Return the lake's space that fits the configuration.

    Raises:
        SpaceMismatchError: the lake's space of this name was made by another encoder or version.
        QueryError: there is no space of this name yet.
    """
    found = find_space(lake, settings, name)
    if found is None:
        held = known_space(lake, name)
        raise SpaceMismatchError(
            name, held.id.fingerprint, f"another {settings.space(name).encoder}", "the lake's space"
        )
    return found


def embedded_spaces(lake: Lake, settings: Settings, chosen: tuple[str, ...]) -> list[str]:
    """Return the chosen spaces (by default all) that have vectors to work on."""
    names = [settings.space(name).name for name in chosen] or [s.name for s in settings.spaces]
    return [
        name
        for name in names
        if (space := find_space(lake, settings, name)) and shard_paths(lake, space.id)
    ]


def retrain_space(lake: Lake, settings: Settings, name: str, run_id: str) -> SpaceRow:
    """Train a space's encoder anew on the present corpus; the old space stays beside the new one.

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
    """Return the space's encoder, loaded once a process."""
    return load_encoder(_spec(lake, settings, space.encoder, space.options, space.artefact))


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
    sources = settings.space(space.id.name).sources
    tables = [lake.delta(folder) for folder in ("tables/items", space.id.folder)]
    states = [(table.metadata().id, table.version()) if table else None for table in tables]
    key = (lake.uri, space.id, sources, *states)
    vectors = _opened.get(key)
    if vectors is None:
        active = _live_contents(lake, sources)
        vectors = open_vectors(shard_paths(lake, space.id), space.id.dim, active)
        _opened.clear()
        _opened[key] = vectors
        release_unused()
    return vectors


def _live_contents(lake: Lake, sources: tuple[str, ...]) -> Iterator[pa.Array]:
    """Yield the contents of the items that these sources hold now."""
    chosen = pa.array(sources, pa.string())
    columns = ["content_id", "source", "deleted"]
    for batch in table_batches(lake, "items", columns, ("source", chosen)):
        yield batch["content_id"].filter(pc.invert(batch["deleted"]))


_opened: dict[Any, ShardVectors] = {}
"""The last vectors that were opened: ids and a mask, no matrix."""


def _train(lake: Lake, settings: Settings, name: str) -> str:
    """Train a space's encoder on its sources' present texts; return the model's folder."""
    configured = settings.space(name)
    encoder_type = find_encoder(configured.encoder).load_type()
    options = _with_places(settings, configured.options)
    with lake.store.scratch(f"models/{name}/_training") as work:
        encoder_type.train(
            _texts(lake, settings, name),
            parse_options(configured.encoder, options),
            work,
            lambda step, done: report_progress(f"train {name}: {step}", int(100 * done), 100, "%"),
        )
        made = (path for path in sorted(work.rglob("*")) if path.is_file())
        digest = content_id("".join(content_id(path.read_bytes()) for path in made))[:16]
        final = f"models/{name}/{digest}"
        lake.store.publish(work, final, "model")
    return final


def _texts(lake: Lake, settings: Settings, name: str) -> Iterator[str]:
    reader = ContentReader(settings)
    with working_on(lake, settings, f"train-{name}") as work:
        view_first_places(work, lake, settings.space(name).sources)
        for batch in work.stream("FROM first_places ORDER BY source, file, position, key"):
            for _, load in reader.payloads(list(refs_of(batch))):
                try:
                    payload = load()
                except ContentGoneError:  # the next ingest sorts it out; trained on the rest
                    continue
                if isinstance(payload, str):
                    yield payload


def _spec(
    lake: Lake, settings: Settings, encoder: str, options: str, artefact: str | None
) -> EncoderSpec:
    return EncoderSpec(
        name=encoder,
        options=json.dumps(_with_places(settings, json.loads(options)), sort_keys=True),
        device=settings.run.device,
        artefact=str(lake.store.local_folder(artefact)) if artefact else None,
        threads=settings.run.thread_count,
        engine=settings.run.engine,
        cache=str(cache_folder()),
    )


def _with_places(settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    """Make the path in an encoder's options absolute: it is relative to the configuration."""
    path = options.get("path")
    return options if path is None else options | {"path": settings.resolve(str(path))}


def _recipe(settings: Settings, space: SpaceSettings) -> str:
    """Name what decides the vectors, cheaply; weights in a folder by their files' sizes and times.

    A trained encoder has read its path for good: what has become of it since does not count.
    """
    entry = find_encoder(space.encoder)
    path = space.options.get("path")
    if path is None or entry.trainable:
        return entry.recipe()
    folder = Path(settings.resolve(str(path)))
    files = sorted(file for file in (folder, *folder.rglob("*")) if file.is_file())
    stamps = [(str(file.relative_to(folder)), *_stamp(file)) for file in files]
    return f"{entry.recipe()} files={content_id(json.dumps(stamps))[:16]}"


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
