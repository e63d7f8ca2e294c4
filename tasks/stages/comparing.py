"""Hold two versions of spaces against each other before one replaces the other.

The same sample of contents is looked at in both, by brute force: which neighbours they keep, how
far their geometry agrees, and which decisions of the reports would flip. Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import space_versions
from data.lake import table_of
from data.maintenance.exporting import space_rows
from data.shards import shard_paths
from data.version_names import candidates, named_version
from latentlake.errors import ConfigError, QueryError
from models.analysis.agreement import (
    OVERLAP_K,
    Geometry,
    compare_geometry,
    exact_graph,
    neighbour_overlap,
    prepare_spaces,
)
from models.indexes.streams import sample, take
from models.types import Metric
from tasks.stages.budget import budget_of
from tasks.stages.contents import CONTENT_REFS, ContentReader, refs_of
from tasks.stages.embedding import Progress, encode_contents
from tasks.stages.flips import Decided, Flip, Sampled, decide
from tasks.stages.spaces import find_space, fits, live_encoder
from tasks.stages.versions import configured_version

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from latentlake.settings import Settings
    from models.indexes.recall import RecallEstimate
    from models.types import Matrix

CONFIGURED: Final = "configured"
"""`cnn@configured` is the space as latentlake.toml has it, be it in the lake or not."""
_LEAST: Final = OVERLAP_K + 2
"""Contents that a comparison needs: ten neighbours, and another one beside them."""
_COPIES: Final = 6
"""Matrices of a sample at once: as read, prepared, in float64, a graph's and blocks of products."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions, seen through the same contents.

    Attributes:
        one: the first version, whole name.
        other: the second.
        contents: how many were compared.
        shared: how many both could be compared on.
        refused: of the sample, how many the second has no vector for, where it was encoded here.
        encoded: whether the second was encoded here, because the lake does not hold it.
        overlap: of each content's nearest ten within the sample.
        geometry: CKA and Procrustes.
        decided: which decisions they take alike, and which would flip.
        target_recall: of the first version's index.
    """

    one: str
    other: str
    contents: int
    shared: int
    refused: int
    encoded: bool
    overlap: RecallEstimate
    geometry: Geometry
    decided: Decided
    target_recall: float

    @property
    def is_interchangeable(self) -> bool:
        """Whether neighbours differ no more than the index may err anyway, and no pair flips."""
        pairs = self.decided.pairs
        return self.overlap.low >= self.target_recall and pairs.one + pairs.other == 0

    @property
    def flips(self) -> tuple[Flip, ...]:
        """All decisions that differ."""
        return self.decided.flips


def compare_spaces(
    lake: Lake, settings: Settings, names: tuple[str, str | None], size: int, seed: int
) -> Comparison:
    """Compare two versions of spaces on the same sample of contents.

    Args:
        lake: its last snapshot is read.
        settings: sources, thresholds, how encoders run.
        names: each `space`, `space@fingerprint` or `space@configured`. A configured space that the
            lake does not hold has its sample encoded. Without a second one, what would replace
            the first: the version of its space that waits, else the configured one.
        size: how many contents at most.
        seed: of their choice.

    Raises:
        LakeNotFoundError: nothing has been committed yet.
        QueryError: a name means nothing, or the two have too few contents in common.
        ConfigError: the sample does not fit into the memory limit, or an encoder would have to be
            trained first.
    """
    snapshot = lake.snapshot()
    one = _named(lake, settings, snapshot, names[0])
    other = _named(lake, settings, snapshot, names[1] or _successor(lake, settings, snapshot, one))
    if one.is_vocabulary and other.is_vocabulary:
        raise QueryError(f"{one.label} and {other.label} hold words: compare the spaces of texts.")
    if one.modality != other.modality:
        raise QueryError(
            f"{one.label} holds {one.modality}s and {other.label} {other.modality}s: they share "
            "nothing that could be compared."
        )
    if not _is_held(lake, snapshot, one):
        raise QueryError(f"the lake has no vectors of '{one.label}' yet: name it second.")
    encoded = not _is_held(lake, snapshot, other)
    shared = _shared(lake, settings, snapshot, (one, other))
    ids = shared.take(pa.array(np.sort(sample(len(shared), size, seed))))
    _require_memory(settings, len(ids), one.id.dim + other.id.dim)
    if encoded:
        kept, second = _encoded(lake, settings, snapshot, other, ids)
    else:
        kept, second = ids, _stored(lake, snapshot, other, ids)
    if len(kept) < _LEAST:
        raise QueryError(
            f"{one.label} and {other.label} have {len(kept)} contents in common: a comparison "
            f"needs {_LEAST}."
        )
    first = _stored(lake, snapshot, one, kept)
    spaces = prepare_spaces(first, second, (Metric(one.id.metric), Metric(other.id.metric)))
    k = max(OVERLAP_K, *(settings.space(side.id.name).neighbours for side in (one, other)))
    graphs = [exact_graph(*space, min(k, len(kept) - 1)) for space in spaces]
    decided = decide(
        lake, settings, snapshot, Sampled((one, other), kept, spaces, (graphs[0], graphs[1]))
    )
    return Comparison(
        one=one.version,
        other=other.version,
        contents=len(kept),
        shared=len(shared),
        refused=len(ids) - len(kept),
        encoded=encoded,
        overlap=neighbour_overlap(graphs[0], graphs[1], spaces),
        geometry=compare_geometry(spaces[0][0], spaces[1][0]),
        decided=decided,
        target_recall=settings.space(one.id.name).target_recall,
    )


def _named(lake: Lake, settings: Settings, snapshot: Snapshot, name: str) -> SpaceRow:
    versions = space_versions(lake, snapshot=snapshot)
    space, _, which = name.partition("@")
    is_unknown = all(version.id.name != space for version in versions)
    if which == CONFIGURED or (
        not which and is_unknown and any(each.name == space for each in settings.spaces)
    ):
        configured = configured_version(lake, settings, space)
        return next((version for version in versions if version.id == configured.id), configured)
    return named_version(versions, name)


def _successor(lake: Lake, settings: Settings, snapshot: Snapshot, one: SpaceRow) -> str:
    """Name what would replace a version."""
    own = space_versions(lake, one.id.name, snapshot)
    waiting = next((version for version in own if version.is_waiting), None)
    if waiting is not None and waiting != one:
        return waiting.version
    if not fits(settings, one):
        known = find_space(lake, settings, one.id.name)
        return known.version if known else f"{one.id.name}@{CONFIGURED}"
    raise QueryError(
        f"nothing is about to replace {one.label}: name the second one, or change the space in "
        f"latentlake.toml first. Of space '{one.id.name}' there are: {candidates(own)}."
    )


def _is_held(lake: Lake, snapshot: Snapshot, space: SpaceRow) -> bool:
    return bool(shard_paths(lake, space.id, snapshot))


def _shared(
    lake: Lake, settings: Settings, snapshot: Snapshot, sides: tuple[SpaceRow, SpaceRow]
) -> pa.Array:
    """Return the contents that can be compared, sorted: the same ones whatever the shards."""
    one, other = sides
    ids = space_rows(lake, one, snapshot).content_ids
    if _is_held(lake, snapshot, other):
        known = space_rows(lake, other, snapshot).content_ids
    else:
        sources = pa.array(settings.space(other.id.name).sources, pa.string())
        live = ~pc.field("deleted")
        items = lake.read(
            "items",
            snapshot=snapshot,
            where=live,
            within=("source", sources),
            columns=["content_id"],
        )
        known = items["content_id"].combine_chunks()
    both = ids.filter(pc.is_in(ids, value_set=known))
    return both.take(pc.array_sort_indices(both))


def _stored(lake: Lake, snapshot: Snapshot, space: SpaceRow, ids: pa.Array) -> Matrix:
    vectors = space_rows(lake, space, snapshot)
    rows = pc.index_in(ids, value_set=vectors.content_ids).to_numpy().astype(np.int64)
    return take(vectors, rows)


def _encoded(
    lake: Lake, settings: Settings, snapshot: Snapshot, space: SpaceRow, ids: pa.Array
) -> tuple[pa.Array, Matrix]:
    """Encode contents with a space's encoder; return those that have a vector, in their order."""
    sources = pa.array(settings.space(space.id.name).sources, pa.string())
    items = lake.read(
        "items",
        snapshot=snapshot,
        where=~pc.field("deleted"),
        within=("content_id", ids),
        columns=CONTENT_REFS.names,
    )
    items = items.filter(pc.is_in(items["source"], value_set=sources))
    order = [(name, "ascending") for name in ("source", "file", "position", "key")]
    first = {row["content_id"]: row for row in reversed(items.sort_by(order).to_pylist())}
    placed = table_of("items", reversed(first.values())).select(CONTENT_REFS.names)
    encoder = live_encoder(lake, settings, space)
    found = encode_contents(
        encoder,
        settings,
        ContentReader(settings).payloads(list(refs_of(placed))),
        placed.num_rows,
        Progress(f"encode {space.label}", placed.num_rows),
    )
    made = pa.array(found.content_ids, pa.string())
    kept = ids.filter(pc.is_in(ids, value_set=made))
    return kept, found.vectors[pc.index_in(kept, value_set=made).to_numpy()]


def _require_memory(settings: Settings, rows: int, dim: int) -> None:
    needed, limit = _COPIES * 4 * rows * dim, budget_of(settings).limit
    if needed > limit // 2:
        raise ConfigError(
            f"comparing {rows:,} contents takes {needed // 10**6} MB, more than half of "
            f"limits.memory ({limit // 10**6} MB): lower --sample or raise limits.memory."
        )
