"""What each version of a space is made of: model, rows, index, origin, and how it came to be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import space_versions
from data.version_names import named_version, state_of
from latentlake.errors import ConfigError, QueryError
from tasks.stages.builds import last_build
from tasks.stages.promoting import lacking
from tasks.stages.recipes import encoder_recipe
from tasks.stages.spaces import canonical_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from latentlake.settings import Settings

_HASHES: Final = ("weights_sha256", "code_sha256")
_LEAST_PREFIX: Final = 3


@dataclass(frozen=True, slots=True)
class IndexState:
    """A version's search index: FAISS factory, rows, and measured recall with its interval."""

    factory: str
    rows: int
    recall: float
    recall_low: float
    recall_high: float


@dataclass(frozen=True, slots=True)
class VersionState:
    """One version of a space.

    Attributes:
        version: whole name.
        space: its space.
        fingerprint: of the model.
        state: "current", "waiting" or "former".
        encoder: the registered encoder.
        weights: hash of weights or code, as the encoder gives it; None where it gives none.
        precision: the class of precision; None where the encoder has but one.
        modality: of its contents.
        dim: length of a vector.
        metric: how nearness is measured.
        vectors: in its shards, those of contents that are gone included.
        size_bytes: of its shards.
        index: None where none is built.
        results: stages that it has results of.
        run_id: the run that made it.
        artefact: the folder of a model that was trained in the lake.
        differs: in what latentlake.toml and this code ask for something else.
        lacks: what a waiting version lacks of the current one.
        options: the encoder's.
        details: what the encoder says of itself.
    """

    version: str
    space: str
    fingerprint: str
    state: str
    encoder: str
    weights: str | None
    precision: str | None
    modality: str
    dim: int
    metric: str
    vectors: int
    size_bytes: int
    index: IndexState | None
    results: tuple[str, ...]
    run_id: str
    artefact: str | None
    differs: tuple[str, ...]
    lacks: tuple[str, ...]
    options: dict[str, Any]
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelState:
    """What makes the vectors of one fingerprint.

    Attributes:
        fingerprint: of the model.
        encoder: the registered encoder.
        weights: as in `VersionState`.
        precision: as in `VersionState`.
        dim: length of a vector.
        metric: how nearness is measured.
        spaces: the versions that were made with it.
        artefact: the folder of a model that was trained in the lake.
        size_bytes: of that folder.
        run_id: the run that made it first.
        details: what the encoder says of itself.
    """

    fingerprint: str
    encoder: str
    weights: str | None
    precision: str | None
    dim: int
    metric: str
    spaces: tuple[str, ...]
    artefact: str | None
    size_bytes: int
    run_id: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A part in which two models differ; None where one does not have it."""

    part: str
    one: str | None
    other: str | None


def version_states(lake: Lake, settings: Settings, snapshot: Snapshot) -> list[VersionState]:
    """Describe all versions of all spaces, as of a snapshot."""
    versions = space_versions(lake, snapshot=snapshot)
    return [_version_state(lake, settings, snapshot, version) for version in versions]


def version_state(lake: Lake, settings: Settings, snapshot: Snapshot, name: str) -> VersionState:
    """Describe one version.

    Raises:
        QueryError: none is called so, or several are.
    """
    version = named_version(space_versions(lake, snapshot=snapshot), name)
    return _version_state(lake, settings, snapshot, version)


def model_states(lake: Lake, snapshot: Snapshot) -> list[ModelState]:
    """Describe all models that vectors of the lake were made with, as of a snapshot."""
    by_fingerprint: dict[str, list[SpaceRow]] = {}
    for version in space_versions(lake, snapshot=snapshot):
        by_fingerprint.setdefault(version.id.fingerprint, []).append(version)
    return [_model_state(lake, versions) for versions in by_fingerprint.values()]


def model_state(lake: Lake, snapshot: Snapshot, name: str) -> ModelState:
    """Describe one model.

    Args:
        lake: whose.
        snapshot: as of when.
        name: the beginning of a fingerprint, or the name of a version that was made with it.

    Raises:
        QueryError: none is called so, or several are.
    """
    models = model_states(lake, snapshot)
    found = [model for model in models if model.fingerprint.startswith(name)]
    if len(found) == 1 and len(name) >= _LEAST_PREFIX:
        return found[0]
    versions = space_versions(lake, snapshot=snapshot)
    if "@" in name or any(version.id.name == name for version in versions):
        fingerprint = named_version(versions, name).id.fingerprint
        return next(model for model in models if model.fingerprint == fingerprint)
    listed = ", ".join(f"{model.fingerprint} ({model.encoder})" for model in found or models)
    problem = "several models begin with" if len(found) > 1 else "no model or space"
    raise QueryError(f"{problem} '{name}'. In the lake: {listed or 'none yet'}.")


def differences(one: ModelState, other: ModelState) -> list[Difference]:
    """Say in which parts two models differ, in their order."""
    left, right = (dict(_parts(model)) for model in (one, other))
    return [
        Difference(part, left.get(part), right.get(part))
        for part in {**left, **right}
        if left.get(part) != right.get(part)
    ]


def _parts(model: ModelState) -> Iterator[tuple[str, str]]:
    yield "fingerprint", model.fingerprint
    yield "encoder", model.encoder
    yield "dim", str(model.dim)
    yield "metric", model.metric
    yield from _flat(model.details, "")


def _flat(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield the leaves of JSON with the way to them, `options.precision`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{place}.{key}" if place else str(key))
    else:
        yield place, value if isinstance(value, str) else json.dumps(value)


def _version_state(
    lake: Lake, settings: Settings, snapshot: Snapshot, space: SpaceRow
) -> VersionState:
    details, options = json.loads(space.details) or {}, json.loads(space.options)
    vectors, size_bytes = _shards(lake, snapshot, space)
    where = (pc.field("space") == space.key) & (pc.field("fingerprint") == space.id.fingerprint)
    built = lake.read("builds", snapshot=snapshot, where=where, columns=["stage"])
    is_ours = any(configured.name == space.id.name for configured in settings.spaces)
    return VersionState(
        version=space.version,
        space=space.id.name,
        fingerprint=space.id.fingerprint,
        state=state_of(space),
        encoder=space.encoder,
        weights=_weights(details),
        precision=options.get("precision"),
        modality=space.modality,
        dim=space.id.dim,
        metric=space.id.metric,
        vectors=vectors,
        size_bytes=size_bytes,
        index=_index(lake, snapshot, space),
        results=tuple(sorted(built["stage"].to_pylist())),
        run_id=space.run_id,
        artefact=space.artefact,
        differs=tuple(_differs(settings, space)) if is_ours else ("it is not configured",),
        lacks=tuple(lacking(lake, settings, space)) if space.is_waiting and is_ours else (),
        options=options,
        details=details,
    )


def _model_state(lake: Lake, versions: Sequence[SpaceRow]) -> ModelState:
    first = min(versions, key=lambda version: version.run_id)
    details, options = json.loads(first.details) or {}, json.loads(first.options)
    files = lake.store.files(first.artefact) if first.artefact else ()
    return ModelState(
        fingerprint=first.id.fingerprint,
        encoder=first.encoder,
        weights=_weights(details),
        precision=options.get("precision"),
        dim=first.id.dim,
        metric=first.id.metric,
        spaces=tuple(version.label for version in versions),
        artefact=first.artefact,
        size_bytes=sum(found.size_bytes for found in files),
        run_id=first.run_id,
        details=details,
    )


def _weights(details: dict[str, Any]) -> str | None:
    """Find the hash of weights in what an encoder says of itself; a trained one hashes files."""
    files = details.get("files")
    if isinstance(files, dict):
        return next((str(digest) for name, digest in files.items() if "safetensors" in name), None)
    return next((str(details[name]) for name in _HASHES if name in details), None)


def _shards(lake: Lake, snapshot: Snapshot, space: SpaceRow) -> tuple[int, int]:
    """Return rows and bytes of a version's shards, by the table's log alone."""
    folder = space.id.folder
    if folder not in snapshot.versions:
        return 0, 0
    table = lake.delta(folder, snapshot.versions[folder])
    if table is None:
        return 0, 0
    actions = pa.table(table.get_add_actions(flatten=True))
    rows, sizes = actions["num_records"].to_pylist(), actions["size_bytes"].to_pylist()
    return sum(rows), sum(sizes)


def _index(lake: Lake, snapshot: Snapshot, space: SpaceRow) -> IndexState | None:
    build = last_build(lake, "index", space, snapshot)
    if build is None:
        return None
    details = json.loads(build["details"])
    recall = (details["recall"], details["recall_low"], details["recall_high"])
    return IndexState(details["factory"], build["rows"], *recall)


def _differs(settings: Settings, space: SpaceRow) -> Iterator[str]:
    """Say in what the configuration and this code ask for another version."""
    configured = settings.space(space.id.name)
    if space.encoder != configured.encoder:
        yield f"encoder {space.encoder}, configured {configured.encoder}"
        return
    try:
        wanted = json.loads(canonical_options(configured))
        recipe = encoder_recipe(settings, configured)
    except ConfigError as error:
        yield str(error)
        return
    made = json.loads(space.options)
    for name in sorted(made.keys() | wanted.keys()):
        if made.get(name) != wanted.get(name):
            yield f"{name} {json.dumps(made.get(name))}, configured {json.dumps(wanted.get(name))}"
    if space.recipe != recipe:
        yield f"made by '{space.recipe}', installed is '{recipe}'"
