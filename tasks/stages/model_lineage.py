"""What vectors were made with: one model a fingerprint, and the parts in which two differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from data.catalog import space_versions
from data.version_names import named_version
from latentlake.errors import QueryError
from tasks.stages.lineage import weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot

_LEAST_PREFIX: Final = 3


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


def model_states(lake: Lake, snapshot: Snapshot) -> list[ModelState]:
    """Describe all models that vectors of the lake were made with, as of a snapshot."""
    by_fingerprint: dict[str, list[SpaceRow]] = {}
    for version in _texts_and_images(lake, snapshot):
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
    versions = _texts_and_images(lake, snapshot)
    if "@" in name or any(version.id.name == name for version in versions):
        fingerprint = named_version(versions, name).id.fingerprint
        return next(model for model in models if model.fingerprint == fingerprint)
    listed = ", ".join(f"{model.fingerprint} ({model.encoder})" for model in found or models)
    problem = "several models begin with" if len(found) > 1 else "no model or space"
    raise QueryError(f"{problem} '{name}'. In the lake: {listed or 'none yet'}.")


def _texts_and_images(lake: Lake, snapshot: Snapshot) -> list[SpaceRow]:
    """Return all versions but those of words, whose model is that of their texts."""
    return [one for one in space_versions(lake, snapshot=snapshot) if not one.is_vocabulary]


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


def _model_state(lake: Lake, versions: Sequence[SpaceRow]) -> ModelState:
    first = min(versions, key=lambda version: version.run_id)
    details, options = json.loads(first.details) or {}, json.loads(first.options)
    files = lake.store.files(first.artefact) if first.artefact else ()
    return ModelState(
        fingerprint=first.id.fingerprint,
        encoder=first.encoder,
        weights=weights_of(details),
        precision=options.get("precision"),
        dim=first.id.dim,
        metric=first.id.metric,
        spaces=tuple(version.label for version in versions),
        artefact=first.artefact,
        size_bytes=sum(found.size_bytes for found in files),
        run_id=first.run_id,
        details=details,
    )
