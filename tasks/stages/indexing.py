"""Build a space's search index, measure it, and put it beside the older versions."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.disk import writing_to
from data.storage import replacing
from latentlake.errors import LakeError, SpaceMismatchError
from models.indexes.build import BuiltIndex, build_index
from models.indexes.vector_index import VectorIndex
from models.types import Metric
from tasks.stages.builds import BuildStep, Built, build_if_changed, last_build, progress_of
from tasks.stages.spaces import require_space, space_vectors

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

INDEX_FILE = "index.faiss"
CONTENTS_FILE = "contents.parquet"
_REVISION = 2
"""Raise it when the same vectors should get another index."""


def index_space(lake: Lake, settings: Settings, name: str, run_id: str) -> StageReceipt:
    """Build a new index version if the space's vectors or the index's settings have changed."""
    space = require_space(lake, settings, name)
    vectors = space_vectors(lake, settings, space)
    target = settings.space(name).target_recall
    inputs = {"target_recall": target, "seed": settings.run.seed, "revision": _REVISION}

    def work() -> Built:
        built = build_index(
            vectors,
            Metric(space.id.metric),
            seed=settings.run.seed,
            target_recall=target,
            progress=progress_of("index", space),
        )
        return _stored(lake, space, vectors, built, run_id)

    return build_if_changed(lake, BuildStep("index", space, inputs), vectors, run_id, work)


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
    folder = lake.root / json.loads(build["details"])["path"]
    index = VectorIndex.load(folder / INDEX_FILE)
    if index.fingerprint != space.id.fingerprint:
        raise SpaceMismatchError(
            space.id.name, index.fingerprint, space.id.fingerprint, f"index {folder.name}"
        )
    contents = pq.read_table(folder / CONTENTS_FILE)["content_id"].combine_chunks()
    if len(contents) != index.rows:
        raise LakeError(f"{folder}: {index.rows} vectors but {len(contents)} contents.")
    return index, contents


def _stored(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, built: BuiltIndex, run_id: str
) -> Built:
    path = f"indexes/{space.id.name}/{space.id.fingerprint}/{run_id}"
    folder = lake.root / path
    with replacing(folder / CONTENTS_FILE, "index contents") as temporary:
        pq.write_table(pa.table({"content_id": vectors.content_ids}), temporary)
    with writing_to(folder / INDEX_FILE):
        built.index.save(folder / INDEX_FILE, space.id.fingerprint)
    details = _details(built) | {
        "path": path,
        "size_bytes": (folder / INDEX_FILE).stat().st_size,
    }
    with replacing(folder / "index.json", "index details") as temporary:
        temporary.write_text(json.dumps(details, indent=1), "utf-8")
    note = (
        f"{built.plan.factory}, recall@{built.recall.k} {built.recall.mean:.3f} "
        f"[{built.recall.low:.3f}, {built.recall.high:.3f}]"
    )
    return Built({"vectors": vectors.rows}, details, (note,))


def _details(built: BuiltIndex) -> dict[str, Any]:
    effort = {k: v for k, v in asdict(built.plan.search_parameters).items() if v is not None}
    return {
        "factory": built.plan.factory,
        "search": ",".join(f"{key}={value}" for key, value in effort.items()),
        "training_rows": built.plan.training_rows,
        "reasons": list(built.plan.reasons),
        "target_recall": built.target_recall,
        "k": built.recall.k,
        "queries": built.recall.queries,
        "recall": built.recall.mean,
        "recall_low": built.recall.low,
        "recall_high": built.recall.high,
    }
