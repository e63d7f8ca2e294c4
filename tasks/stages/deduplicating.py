"""The report `duplicates`: exact ones by content, near ones by similarity, one kept twin for each.

Per space the report stands alone: every removed item's twin is an item that stays. So an exact copy
of a content that is itself removed points to that content's kept twin, not to its own copy.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.content import digest_of_column
from data.databases import sandbox
from data.scans import table_batches
from data.schemas import ITEMS
from latentlake.errors import ConfigError
from models.analysis.duplicates import Cover, Pairs, greedy_cover
from models.analysis.edges import EXACT, KINDS
from models.indexes.results import NO_ROW
from tasks.stages.builds import BuildStep, Built, Details, build_if_changed, last_build
from tasks.stages.edges import stored_edges
from tasks.stages.lexical_pairing import lexical_threshold, pair_texts
from tasks.stages.pairing import pair_contents
from tasks.stages.photo_pairs import STAGE, verify_photos
from tasks.stages.pixel_digests import digest_pixels
from tasks.stages.rules import Changes, order_of, standing_first, strengths_for
from tasks.stages.thresholds import score_threshold

if TYPE_CHECKING:
    import numpy.typing as npt

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.names import Rule
    from latentlake.settings import Settings
    from models.analysis.edges import Edges
    from tasks.stages.receipts import StageReceipt

_REVISION = 4


def find_duplicates(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Recompute the report if the items, the vectors or the settings have changed."""
    configured = settings.space(space.id.name).duplicates
    threshold = score_threshold(settings, space)
    ranked = ranked_items(lake, settings.space(space.id.name).sources, order_of(configured))
    paired = pair_contents(lake, settings, space, vectors, run_id)
    before = [paired, verify_photos(lake, settings, space, vectors, run_id)]
    if space.modality == "image":
        before.append(digest_pixels(lake, settings, space, vectors, run_id))
    if space.modality == "text":
        before.append(pair_texts(lake, settings, space, vectors, run_id))
    verified = last_build(lake, STAGE, space)
    inputs = {
        "threshold": threshold,
        "verified": verified["inputs"] if verified else None,
        "lexical": lexical_threshold(settings, space),
        "rule": configured.rule,
        "keep": order_of(configured),
        "items": digest_of_column(ranked["item_id"]),
        "contents": digest_of_column(ranked["content_id"]),
        "revision": _REVISION,
    }

    def work(_: Details | None) -> Built:
        edges = stored_edges(lake, settings, space, vectors)
        walked = standing_first(lake, settings, space, ranked)
        table = decide(walked, vectors, edges, configured.rule)
        changes = _replace_report(lake, space, configured.rule, table, run_id, ranked)
        exact = pc.sum(pc.equal(table["kind"], "exact")).as_py() or 0
        counts = {"exact": exact, "near": table.num_rows - exact, **changes}
        details = {
            "threshold": threshold,
            "thresholds": dict(edges.thresholds),
            "rule": configured.rule,
            "items": ranked.num_rows,
            "removed": table.num_rows,
        }
        return Built(counts, details, _notes(space, threshold))

    step = BuildStep("duplicates", space, inputs)
    receipt = build_if_changed(lake, step, vectors, run_id, work)
    return _together(receipt, [one for one in before if one is not None])


def _together(report: StageReceipt, before: list[StageReceipt]) -> StageReceipt:
    """Return the report's receipt with what was done for it."""
    told = {name: n for one in before if one.stage == STAGE for name, n in one.counts.items()}
    return replace(
        report,
        changed=report.changed or any(one.changed for one in before),
        counts=report.counts | told,
        seconds=report.seconds + sum(one.seconds for one in before),
        notes=(*(note for one in before for note in one.notes), *report.notes),
    )


def _replace_report(
    lake: Lake, space: SpaceRow, rule: Rule, table: pa.Table, run_id: str, ranked: pa.Table
) -> dict[str, int]:
    """Store the report in place of the last one; count what is not as it was in that."""
    name, rows = space.key, table.num_rows
    before = lake.read(
        "duplicates", where=pc.field("space") == name, columns=["item_id", "twin_id"]
    )
    columns = {
        "space": pa.array(np.full(rows, name), pa.string()),
        **{column: table[column] for column in table.column_names},
        "rule": pa.array(np.full(rows, rule), pa.string()),
        "run_id": pa.array(np.full(rows, run_id), pa.string()),
    }
    lake.replace_space("duplicates", name, pa.table(columns), run_id)
    if last_build(lake, "duplicates", space) is None:
        return asdict(Changes(0, 0, 0))  # all would be new, which tells nothing
    return asdict(Changes.between(before, table, ranked["item_id"]))


def decide(
    ranked: pa.Table, vectors: ShardVectors, edges: Edges, rule: Rule = "greedy-cover"
) -> pa.Table:
    """Choose the items to remove; nothing is read or written.

    Args:
        ranked: the items, the one to keep first in front; see `ranked_items`.
        vectors: the space's rows.
        edges: what is known of pairs of them; those within their thresholds count.
        rule: whom a removed item goes with; see `tasks.stages.rules`.

    Returns:
        A row a removed item: item_id, twin_id, group_id, kind, score, similarity, threshold.
    """
    near = edges.within()
    rows = vectors.rows_of(ranked["content_id"])
    found = rows[rows != NO_ROW]
    is_first = _first_places(found, vectors.rows)[found] == np.arange(found.size)
    priority = found[is_first].astype(np.int64)
    cover = greedy_cover(Pairs(near.first, near.second, strengths_for(rule, near)), priority)
    return _removals(ranked, rows, cover, near.chosen(cover.pairs))


def _first_places(codes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return where each code from 0 to `count` comes first: (count,) int64; -1 where nowhere."""
    first = np.full(count, -1, np.int64)
    first[codes[::-1]] = np.arange(codes.size)[::-1]  # of places that repeat, the last one stands
    return first


def _notes(space: SpaceRow, threshold: float | None) -> tuple[str, ...]:
    if threshold is not None:
        return ()
    metric = space.id.metric
    return (f"only exact copies: the metric {metric} has no default for duplicates.threshold",)


def ranked_items(lake: Lake, sources: tuple[str, ...], keep: str) -> pa.Table:
    """Return item and content ids of the sources' items, the one to keep first in front."""
    chosen = pa.array(sources, pa.string())
    words = {"item_id", "content_id", *re.findall(r"\w+", keep.lower())}
    columns = [name for name in ITEMS.columns.names if name in words]
    read = list(dict.fromkeys([*columns, "source", "deleted"]))
    schema = pa.schema([ITEMS.columns.field(name) for name in columns])
    live = (
        batch.filter(pc.invert(batch["deleted"])).select(columns).cast(schema)
        for batch in table_batches(lake, "items", read, ("source", chosen))
    )
    with sandbox() as connection:
        connection.register("items", pa.RecordBatchReader.from_batches(schema, live))
        try:
            return connection.sql(
                f"SELECT item_id, content_id FROM items ORDER BY {keep}, item_id"  # noqa: S608
            ).to_arrow_table()
        except duckdb.Error as error:
            raise ConfigError(f'duplicates.keep = "{keep}": {error}') from None


def _removals(
    ranked: pa.Table, rows: npt.NDArray[np.int64], cover: Cover, proofs: Edges
) -> pa.Table:
    """Return a row a removed item, with its twin and what speaks for it.

    Args:
        ranked: the items, the one to keep first in front.
        rows: the row of each one's content among the vectors, `NO_ROW` where it has none.
        cover: the contents that leave, each with its twin.
        proofs: the edge between each of them and its twin.
    """
    # A content without a vector is numbered after all that have one.
    code = rows.astype(np.int64)
    lost = rows == NO_ROW
    others = ranked["content_id"].filter(pa.array(lost)).combine_chunks().dictionary_encode()
    count = int(code.max(initial=NO_ROW)) + 1
    code[lost] = count + others.indices.to_numpy()
    count += len(others.dictionary)
    best = _first_places(code, count)
    place = np.full(count, NO_ROW, np.int64)
    place[cover.removed] = np.arange(cover.removed.size)
    near = place[code] != NO_ROW
    removed = np.flatnonzero(near | (best[code] != np.arange(code.size)))
    near, code = near[removed], code[removed]
    twin, proof = code.copy(), place[code[near]]
    twin[near] = cover.twins[proof]

    def told(values: np.ndarray, exact: float) -> np.ndarray:
        column = np.full(removed.size, exact, values.dtype)
        column[near] = values[proof]
        return column

    twins = ranked["item_id"].take(pa.array(best[twin]))
    return pa.table(
        {
            "item_id": ranked["item_id"].take(pa.array(removed)),
            "twin_id": twins,
            "group_id": twins,
            "kind": pa.array(KINDS).take(pa.array(told(proofs.kinds, EXACT))),
            "score": pa.array(told(proofs.scores, 1.0)),
            "similarity": pa.array(told(proofs.similarities, 1.0)),
            "threshold": pa.array(told(proofs.least(), 1.0)),
        }
    )
