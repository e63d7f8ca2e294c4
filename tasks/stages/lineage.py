"""What each version of a space is made of: model, rows, index, origin, and how it came to be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import space_versions
from data.version_names import named_version, state_of
from latentlake.errors import ConfigError
from latentlake.names import vocabulary_name
from tasks.stages.builds import last_build
from tasks.stages.heads import head_settings, without_head
from tasks.stages.promoting import lacking
from tasks.stages.recipes import space_recipe
from tasks.stages.spaces import canonical_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from latentlake.settings import Settings

_HASHES: Final = ("weights_sha256", "code_sha256")


@dataclass(frozen=True, slots=True)
class IndexState:
    """A version's search index.

    Attributes:
        factory: FAISS's.
        rows: that it was built over.
        recall: recall@10, measured.
        recall_low: lower end of its 95 % interval.
        recall_high: upper end.
        recall_filtered: where a tenth of the rows may be found; None where nobody has measured it.
        queries_per_second: of one core, counted; None in indexes that are older than the count.
        vector_bytes: that a vector takes in memory; None likewise.
    """

    factory: str
    rows: int
    recall: float
    recall_low: float
    recall_high: float
    recall_filtered: float | None = None
    queries_per_second: int | None = None
    vector_bytes: float | None = None


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


def _version_state(
    lake: Lake, settings: Settings, snapshot: Snapshot, space: SpaceRow
) -> VersionState:
    details, options = json.loads(space.details) or {}, json.loads(space.options)
    vectors, size_bytes = _shards(lake, snapshot, space)
    where = (pc.field("space") == space.key) & (pc.field("fingerprint") == space.id.fingerprint)
    built = lake.read("builds", snapshot=snapshot, where=where, columns=["stage"])
    names = {configured.name for configured in settings.spaces}
    words = {vocabulary_name(name) for name in names} if space.is_vocabulary else set()
    is_ours = space.id.name in names | words
    is_filled = space.is_waiting and is_ours and not words  # another model has other words
    return VersionState(
        version=space.version,
        space=space.id.name,
        fingerprint=space.id.fingerprint,
        state=state_of(space),
        encoder=space.encoder,
        weights=weights_of(details),
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
        lacks=tuple(lacking(lake, settings, space)) if is_filled else (),
        options=options,
        details=details,
    )


def weights_of(details: dict[str, Any]) -> str | None:
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
    filtered = (details.get("filtered") or {}).get("mean")
    figures = (details.get("queries_per_second"), details.get("vector_bytes"))
    return IndexState(details["factory"], build["rows"], *recall, filtered, *figures)


def _differs(settings: Settings, space: SpaceRow) -> Iterator[str]:
    """Say in what the configuration and this code ask for another version."""
    configured = settings.space(space.id.name)
    if space.encoder != configured.encoder:
        yield f"encoder {space.encoder}, configured {configured.encoder}"
        return
    try:
        wanted = json.loads(canonical_options(configured))
        recipe = space_recipe(settings, configured)
    except ConfigError as error:
        yield str(error)
        return
    wanted |= head_settings(recipe)
    made = json.loads(space.options) | head_settings(space.recipe)
    for name in sorted(made.keys() | wanted.keys()):
        if made.get(name) != wanted.get(name):
            yield f"{name} {json.dumps(made.get(name))}, configured {json.dumps(wanted.get(name))}"
    code, installed = without_head(space.recipe), without_head(recipe)
    if code != installed:
        yield f"made by '{code}', installed is '{installed}'"
