"""Keep a space's search index up to date: extended by what is new, or trained anew with a reason.

Each version lies beside the older ones. Rows of deleted contents stay inside as dead ones: a row is
alive while the content that `contents.parquet` names for it is in use, so a deletion alone writes
no new version, and a content that returns is found again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from data.allocators import release_unused
from latentlake.errors import LakeError, SpaceMismatchError
from models.indexes.build import RECALL_K, BuiltIndex
from models.indexes.errors import IndexFileError
from models.indexes.filtered import QUERIES, filtered_recall
from models.indexes.growth import MOST_UNMEASURED, Growth, reason_to_retrain, remeasure
from models.indexes.reaching import build_reaching
from models.indexes.row_view import RowView
from models.indexes.streams import batch_rows, sample
from models.indexes.vector_index import VectorIndex
from models.types import Metric
from tasks.stages.budget import budget_of
from tasks.stages.builds import (
    BuildStep,
    Built,
    Details,
    build_if_changed,
    last_build,
    progress_of,
)
from tasks.stages.held import Held
from tasks.stages.index_drift import drift_after, layout_in
from tasks.stages.index_record import details_of, filtered_in, measured_in
from tasks.stages.index_wish import index_wish
from tasks.stages.needs import index_need
from tasks.stages.spaces import require_space, space_vectors

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.indexes.drift import Drift
    from tasks.stages.index_wish import IndexWish
    from tasks.stages.receipts import StageReceipt

INDEX_FILE = "index.faiss"
CONTENTS_FILE = "contents.parquet"
_FIRST = "trained: the first of these settings"
_REVISION = 5
"""Raise it when the same vectors should get another index."""


def index_space(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Build a new index version if the space's vectors or the index's settings have changed."""
    space = require_space(lake, settings, name)
    vectors = space_vectors(lake, settings, space)
    wish, metric = index_wish(settings, space, vectors), Metric(space.id.metric)
    step = BuildStep("index", space, wish.inputs | {"revision": _REVISION})

    def work(last: Details | None) -> Built:
        budget_of(settings).require(
            f"index of space '{space.label}'", index_need(vectors, wish.largest)
        )
        version = _extended(lake, space, vectors, wish, last)
        if isinstance(version, str):
            progress = progress_of("index", space)
            built = build_reaching(vectors, metric, wish.plans, wish.goal, wish.seed, progress)
            ids, rows, recall = vectors.content_ids, vectors.rows, built.recall.mean
            version = _Version(built, ids, rows, version, measured_rows=rows, trained_recall=recall)
        return _stored(lake, space, vectors, version, run_id)

    return build_if_changed(lake, step, vectors, run_id, work)


@dataclass(frozen=True, slots=True)
class _Version:
    """A version to store.

    Attributes:
        built: the index with its measured recall.
        contents: the content of each of its rows, dead ones included.
        trained_rows: how many vectors there were when it was trained.
        update: what was done and why.
        measured_rows: how many there were when its recall was measured.
        trained_recall: what it found then; another training would find no more.
        changes_since: how many have come or gone since then.
        path: where it lies already, if no row was added.
        size_bytes: of the index there.
        drift: what batches since the training have changed; None before the first.
    """

    built: BuiltIndex
    contents: pa.Array
    trained_rows: int
    update: str
    measured_rows: int
    trained_recall: float
    changes_since: int = 0
    path: str | None = None
    size_bytes: int = 0
    drift: Drift | None = None


def _extended(
    lake: Lake,
    space: SpaceRow,
    vectors: ShardVectors,
    wish: IndexWish,
    details: Details | None,
) -> _Version | str:
    """Add what is new to the last version; or say why it has to be trained."""
    try:
        stored = stored_index(lake, space) if details else None
    except (IndexFileError, LakeError) as error:
        return f"trained: {error}"
    if details is None or stored is None:
        return _FIRST
    index, contents = stored
    fresh = vectors.rows_outside(contents)
    growth = Growth(
        index.plan, details["trained_rows"], index.rows, vectors.rows - fresh.size, fresh.size
    )
    reason = reason_to_retrain(growth, wish.plans)
    if reason is not None:
        return f"trained: {reason}"
    fresh_ids = vectors.content_ids.take(pa.array(fresh))
    for batch in vectors.subset(fresh).batches(batch_rows(vectors.dim)):
        index.add(batch)
    drift, layout = drift_after(index, vectors, fresh, details, wish.seed), layout_in(details)
    trained_recall = details.get("trained_recall", 1.0)
    wanted = min(wish.goal.recall, trained_recall)
    reason = drift.reason_to_retrain(layout, wanted) if drift and layout else None
    if reason is not None:
        return f"trained: {reason}"
    contents = pa.concat_arrays([contents, fresh_ids])
    dead = len(contents) - vectors.rows
    version = _Version(
        BuiltIndex(
            index, measured_in(details), details["target_recall"], layout, filtered_in(details)
        ),
        contents,
        details["trained_rows"],
        f"extended by {fresh.size:,}, {dead:,} dead",
        details["measured_rows"],
        trained_recall,
        details["changes_since"] + fresh.size + abs(dead - details["dead"]),
        None if fresh.size else details["path"],
        details["size_bytes"],
        drift,
    )
    return _remeasured(version, vectors, Metric(space.id.metric), wish.seed)


def _remeasured(
    version: _Version, vectors: ShardVectors, metric: Metric, seed: int
) -> _Version | str:
    """Measure recall again if it is time; or say why the index has to be trained."""
    if version.changes_since <= MOST_UNMEASURED * version.measured_rows:
        return version
    index, row_of = version.built.index, vectors.rows_of(version.contents)
    recall = remeasure(RowView(index, row_of), vectors, metric, RECALL_K, seed)
    asked = sample(vectors.rows, QUERIES, seed)
    filtered = filtered_recall(index, vectors, asked, RECALL_K, seed, row_of)
    built = replace(version.built, recall=recall, filtered=filtered)
    wanted = min(built.target_recall, version.trained_recall)
    if recall.high < wanted:
        return f"trained: recall had fallen to {recall.mean:.3f}, below {wanted:.3g}"
    return replace(version, built=built, measured_rows=vectors.rows, changes_since=0)


def stored_index(
    lake: Lake, space: SpaceRow, snapshot: Snapshot | None = None
) -> tuple[VectorIndex, pa.Array] | None:
    """Load a space's index and the content ids of its rows; None if none has been built.

    Raises:
        SpaceMismatchError: the index was built from another model's vectors.
        LakeError: index and list of contents do not belong together.
    """
    build = last_build(lake, "index", space, snapshot)
    if build is None:
        return None
    folder = str(json.loads(build["details"])["path"])
    try:
        with lake.store.reading(f"{folder}/{INDEX_FILE}") as path:
            index = VectorIndex.load(path)
        with lake.store.reading(f"{folder}/{CONTENTS_FILE}") as path:
            contents = pq.read_table(path)["content_id"].combine_chunks()
    except FileNotFoundError as error:
        raise LakeError(f"{error}: cannot be read, it is missing.") from None
    if index.fingerprint != space.id.fingerprint:
        version = folder.rpartition("/")[2]
        raise SpaceMismatchError(
            space.id.name, index.fingerprint, space.id.fingerprint, f"index {version}"
        )
    if len(contents) != index.rows:
        place = lake.store.address(folder)
        raise LakeError(f"{place}: {index.rows} vectors but {len(contents)} contents.")
    release_unused(index.rows)
    return index, contents


def stored_index_bytes(lake: Lake, space: SpaceRow) -> int:
    """Return the size of the space's index, 0 if none has been built."""
    build = last_build(lake, "index", space)
    return int(json.loads(build["details"])["size_bytes"]) if build else 0


def stored_index_factory(lake: Lake, space: SpaceRow) -> str | None:
    """Return what kind of index the space has, as FAISS names it; None if none has been built."""
    build = last_build(lake, "index", space)
    return str(json.loads(build["details"])["factory"]) if build else None


_held: Held[tuple[VectorIndex, pa.Array]] = Held()


def _held_index(lake: Lake, space: SpaceRow) -> tuple[VectorIndex, pa.Array] | None:
    build = last_build(lake, "index", space)
    return _held.get((lake.uri, json.loads(build["details"])["path"])) if build else None


def index_over(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> RowView | None:
    """Return the space's index in the row order of these vectors, if it holds them all."""
    stored = _held_index(lake, space) or stored_index(lake, space)
    if stored is None:
        return None
    view = RowView(stored[0], vectors.rows_of(stored[1]))
    return view if view.rows == vectors.rows else None


def _stored(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, version: _Version, run_id: str
) -> Built:
    built = version.built
    path = version.path or f"indexes/{space.id.name}/{space.id.fingerprint}/{run_id}"
    details = details_of(built) | {
        "path": path,
        "size_bytes": version.size_bytes,
        "rows": built.index.rows,
        "dead": built.index.rows - vectors.rows,
        "trained_rows": version.trained_rows,
        "measured_rows": version.measured_rows,
        "trained_recall": version.trained_recall,
        "changes_since": version.changes_since,
        "update": version.update,
        "drift": asdict(version.drift) if version.drift else None,
    }
    if version.path is None:
        with lake.store.writing(f"{path}/{CONTENTS_FILE}", "index contents") as temporary:
            # Ids are all different: a dictionary or compression would take time and save nothing.
            ids = pa.table({"content_id": version.contents})
            pq.write_table(ids, temporary, compression="none", use_dictionary=False)
        with lake.store.writing(f"{path}/{INDEX_FILE}", "index") as temporary:
            built.index.save(temporary, space.id.fingerprint)
            details["size_bytes"] = temporary.stat().st_size
        content = json.dumps(details, indent=1).encode()
        lake.store.write(f"{path}/index.json", content, "index details")
        _held.put((lake.uri, path), (built.index, version.contents), details["size_bytes"])
    note = (
        f"{built.plan.factory}, recall@{built.recall.k} {built.recall.mean:.3f} "
        f"[{built.recall.low:.3f}, {built.recall.high:.3f}]"
    )
    if not built.reaches_target:
        note += f", below the wanted {built.target_recall:g}"
    notes = (note,) if version.update == _FIRST else (note, version.update)
    return Built({"vectors": vectors.rows}, details, notes)
