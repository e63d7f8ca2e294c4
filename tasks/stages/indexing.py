"""Build a space's search index, measure it, and put it beside the older versions."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

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
    return index, contents


def _stored(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, built: BuiltIndex, run_id: str
) -> Built:
    path = f"indexes/{space.id.name}/{space.id.fingerprint}/{run_id}"
    with lake.store.writing(f"{path}/{CONTENTS_FILE}", "index contents") as temporary:
        pq.write_table(pa.table({"content_id": vectors.content_ids}), temporary)
    with lake.store.writing(f"{path}/{INDEX_FILE}", "index") as temporary:
        built.index.save(temporary, space.id.fingerprint)
        size_bytes = temporary.stat().st_size
    details = _details(built) | {"path": path, "size_bytes": size_bytes}
    content = json.dumps(details, indent=1).encode()
    lake.store.write(f"{path}/index.json", content, "index details")
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
