"""The report `duplicates`: exact ones by content, near ones by similarity, one kept twin for each.

Per space the report stands alone: every removed item's twin is an item that stays. So an exact copy
of a content that is itself removed points to that content's kept twin, not to its own copy.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.content import digest_of_column
from data.schemas import ITEMS
from latentlake.errors import ConfigError
from models.analysis.duplicates import Cover, greedy_cover
from models.indexes.results import NO_ROW
from models.types import Metric
from tasks.stages.builds import BuildStep, Built, Details, build_if_changed
from tasks.stages.indexing import rows_among
from tasks.stages.pairing import pair_contents, stored_pairs

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt

RULE = "greedy-cover"
DEFAULT_THRESHOLDS = {"image": 0.9, "text": 0.98, "vector": 0.98}
"""Where removals of real photos and abstracts are nearly all true; see docs/decisions/0003."""
_KINDS = {"image": "perceptual", "text": "semantic", "vector": "near"}
_REVISION = 1


def find_duplicates(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Recompute the report if the items, the vectors or the settings have changed."""
    name, configured = space.key, settings.space(space.id.name).duplicates
    threshold = _threshold(settings, space)
    ranked = _ranked_items(lake, settings.space(space.id.name).sources, configured.keep)
    inputs = {
        "threshold": threshold,
        "keep": configured.keep,
        "items": digest_of_column(ranked["item_id"]),
        "contents": digest_of_column(ranked["content_id"]),
        "revision": _REVISION,
    }

    def work(_: Details | None) -> Built:
        near = stored_pairs(lake, name, vectors) if found is None else found
        cover = greedy_cover(near, _priority(ranked, vectors))
        table = _rows(ranked, vectors, cover)
        kinds = pa.array(["exact", _KINDS[space.modality]])
        exact = table["kind"].to_numpy() == 0
        columns = {
            "space": pa.array(np.full(table.num_rows, name), pa.string()),
            "item_id": table["item_id"],
            "twin_id": table["twin_id"],
            "group_id": table["twin_id"],
            "kind": kinds.take(table["kind"].combine_chunks()),
            "similarity": table["similarity"],
            "rule": pa.array(np.full(table.num_rows, RULE), pa.string()),
            "threshold": pa.array([threshold] * table.num_rows, pa.float32()),
            "run_id": pa.array(np.full(table.num_rows, run_id), pa.string()),
        }
        lake.replace_space("duplicates", name, pa.table(columns), run_id)
        counts = {"exact": int(exact.sum()), "near": int((~exact).sum())}
        return Built(counts, {"threshold": threshold, "rule": RULE}, _notes(space, threshold))

    paired, found = pair_contents(lake, space, vectors, threshold, run_id)
    step = BuildStep("duplicates", space, inputs)
    receipt = build_if_changed(lake, step, vectors, run_id, work)
    changed = paired.changed or receipt.changed
    return replace(receipt, changed=changed, seconds=paired.seconds + receipt.seconds)


def _notes(space: SpaceRow, threshold: float | None) -> tuple[str, ...]:
    if threshold is not None:
        return ()
    metric = space.id.metric
    return (f"only exact copies: the metric {metric} has no default for duplicates.threshold",)


def _threshold(settings: Settings, space: SpaceRow) -> float | None:
    """Return the least similarity of near-duplicates; None where only equal contents are copies.

    Raises:
        ConfigError: no similarity of the space's metric has this value.
    """
    threshold, metric = settings.space(space.id.name).duplicates.threshold, Metric(space.id.metric)
    if threshold is None:
        return DEFAULT_THRESHOLDS[space.modality] if metric is Metric.COSINE else None
    if metric is Metric.COSINE and not 0 < threshold <= 1:
        raise ConfigError(
            f"space '{space.id.name}': duplicates.threshold = {threshold:g} is no cosine of "
            "near-duplicates: it must be above 0 and at most 1."
        )
    if metric is Metric.L2 and threshold > 0:
        raise ConfigError(
            f"space '{space.id.name}': duplicates.threshold = {threshold:g}, but the similarity of "
            "the metric l2 is minus the squared distance: write "
            f"{-(threshold**2):g} for a distance of at most {threshold:g}."
        )
    return threshold


def _ranked_items(lake: Lake, sources: tuple[str, ...], keep: str) -> pa.Table:
    """Return item and content ids of the sources' items, the one to keep first in front."""
    chosen = pa.array(sources, pa.string())
    words = {"item_id", "content_id", *re.findall(r"\w+", keep.lower())}
    columns = [name for name in ITEMS.columns.names if name in words]
    live = ~pc.field("deleted")
    items = lake.read("items", where=live, within=("source", chosen), columns=columns)
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


def _rows(ranked: pa.Table, vectors: ShardVectors, cover: Cover) -> pa.Table:
    """Return a row a removed item: item_id, twin_id, kind (0 exact, 1 near), similarity."""
    # Dictionary codes are given in the order of first occurrence: the best item of each content.
    encoded = ranked["content_id"].combine_chunks().dictionary_encode()
    code = encoded.indices.to_numpy()
    _, best = np.unique(code, return_index=True)
    row_of = rows_among(encoded.dictionary, vectors.content_ids)
    code_of = np.full(vectors.rows, NO_ROW, np.int64)
    code_of[row_of[row_of != NO_ROW]] = np.flatnonzero(row_of != NO_ROW)
    twin_code = np.full(best.size, NO_ROW, np.int64)
    similarity = np.ones(best.size, np.float32)
    leaving = code_of[cover.removed]
    twin_code[leaving], similarity[leaving] = code_of[cover.twins], cover.similarities
    near = twin_code[code] != NO_ROW
    removed = np.flatnonzero(near | (best[code] != np.arange(code.size)))
    near, code = near[removed], code[removed]
    twins = best[np.where(near, twin_code[code], code)]
    return pa.table(
        {
            "item_id": ranked["item_id"].take(pa.array(removed)),
            "twin_id": ranked["item_id"].take(pa.array(twins)),
            "kind": pa.array(near.astype(np.int8)),
            "similarity": pa.array(np.where(near, similarity[code], np.float32(1.0))),
        }
    )
