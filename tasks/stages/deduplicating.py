"""The report `duplicates`: exact ones by content, near ones by similarity, one kept twin for each.

Per space the report stands alone: every removed item's twin is an item that stays. So an exact copy
of a content that is itself removed points to that content's kept twin, not to its own copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.content import digest_of_ids
from data.lake import Lake, table_of
from data.schemas import ITEMS
from latentlake.errors import ConfigError
from models.analysis.duplicates import Cover, greedy_cover, similar_pairs
from models.indexes.build import build_index
from models.types import Metric
from tasks.stages.builds import BuildStep, Built, build_if_changed, progress_of
from tasks.stages.neighbours import index_over
from tasks.stages.spaces import active_items

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

RULE = "greedy-cover"
DEFAULT_THRESHOLDS = {"image": 0.9, "text": 0.98}
"""Where removals of real photos and abstracts are nearly all true; see docs/decisions/0003."""
_KINDS = {"image": "perceptual", "text": "semantic"}
_REVISION = 1


def find_duplicates(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Recompute the report if the items, the vectors or the settings have changed."""
    name = space.id.name
    configured = settings.space(name).duplicates
    threshold = configured.threshold or DEFAULT_THRESHOLDS[space.modality]
    ranked = _ranked_items(lake, settings.space(name).sources, configured.keep)
    inputs = {
        "threshold": threshold,
        "keep": configured.keep,
        "items": digest_of_ids(ranked["item_id"].to_pylist()),
        "contents": digest_of_ids(ranked["content_id"].to_pylist()),
        "revision": _REVISION,
    }

    def work() -> Built:
        cover = _cover(lake, space, vectors, _priority(ranked, vectors), threshold)
        rows = list(_rows(ranked, vectors, cover, _KINDS[space.modality]))
        common = {"space": name, "rule": RULE, "threshold": threshold, "run_id": run_id}
        table = table_of("duplicates", (row | common for row in rows))
        lake.replace_space("duplicates", name, table, run_id)
        exact = sum(row["kind"] == "exact" for row in rows)
        return Built(
            {"exact": exact, "near": len(rows) - exact}, {"threshold": threshold, "rule": RULE}
        )

    return build_if_changed(lake, BuildStep("duplicates", space, inputs), vectors, run_id, work)


def _ranked_items(lake: Lake, sources: tuple[str, ...], keep: str) -> pa.Table:
    """Return item and content ids of the sources' items, the one to keep first in front."""
    items = active_items(lake, sources, ITEMS.columns.names)
    with duckdb.connect() as connection:
        connection.register("items", items)
        connection.execute("SET enable_external_access = false")
        try:
            return connection.sql(
                f"SELECT item_id, content_id FROM items ORDER BY {keep}, item_id"  # noqa: S608
            ).to_arrow_table()
        except duckdb.Error as error:
            raise ConfigError(f'duplicates.keep = "{keep}": {error}') from None


def _priority(ranked: pa.Table, vectors: ShardVectors) -> Any:
    """Return the vectors' rows in the order of their best item."""
    rows = pc.index_in(ranked["content_id"].combine_chunks(), value_set=vectors.content_ids)
    found = rows.drop_null().to_numpy()
    _, first = np.unique(found, return_index=True)
    return found[np.sort(first)].astype(np.int64)


def _cover(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, priority: Any, threshold: float
) -> Cover:
    metric = Metric(space.id.metric)
    index = index_over(lake, space, vectors) or build_index(vectors, metric).index
    progress = progress_of("duplicates", space)
    return greedy_cover(similar_pairs(vectors, index, metric, threshold, progress), priority)


def _rows(
    ranked: pa.Table, vectors: ShardVectors, cover: Cover, near_kind: str
) -> Iterator[dict[str, Any]]:
    items, contents = ranked["item_id"].to_pylist(), ranked["content_id"].to_pylist()
    best: dict[str, str] = {}
    for item, content in zip(items, contents, strict=True):
        best.setdefault(content, item)
    ids = vectors.content_ids
    removed = ids.take(pa.array(cover.removed)).to_pylist()
    twins = ids.take(pa.array(cover.twins)).to_pylist()
    twin_of = {
        content: (twin, float(similarity))
        for content, twin, similarity in zip(removed, twins, cover.similarities, strict=True)
    }
    for item, content in zip(items, contents, strict=True):
        if content in twin_of:
            twin, similarity = twin_of[content]
            kept, kind = best[twin], near_kind
        elif best[content] != item:
            kept, kind, similarity = best[content], "exact", 1.0
        else:
            continue
        yield {
            "item_id": item,
            "twin_id": kept,
            "group_id": kept,
            "kind": kind,
            "similarity": similarity,
        }
