"""Leakage: items of one set that repeat items of another, by the edges that are stored.

Nothing is encoded or compared here. Every pair that reaches its threshold is stored, so what an
item repeats on the other side is among them, whatever the report would remove.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import duckdb
import numpy as np
import pyarrow as pa

from data.catalog import connect
from data.workspace import quoted
from latentlake.errors import QueryError, nearest_hint
from models.analysis.edges import KINDS
from models.indexes.results import NO_ROW
from tasks.stages.builds import last_build
from tasks.stages.edges import stored_edges
from tasks.stages.spaces import space_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.catalog import SpaceRow
    from data.pinned import PinnedLake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings

_LINKS: Final = pa.schema(
    [
        ("mine", pa.string()),
        ("theirs", pa.string()),
        ("place", pa.int64()),
        ("score", pa.float32()),
        ("threshold", pa.float32()),
        ("space", pa.string()),
    ]
)
"""A content of the second set, one of the first that it repeats, by what (a place in `KINDS`)."""

_FOUND: Final = """
WITH original AS (
    SELECT content_id, arg_min(item_id, (uri, item_id)) AS item_id, min(uri) AS uri,
           arg_min(source, (uri, item_id)) AS source, count(*) AS items
    FROM first_set GROUP BY content_id
),
link AS (
    SELECT mine, theirs, place, score, threshold, space FROM links
    UNION ALL
    SELECT DISTINCT content_id, content_id, 0, 1::FLOAT, 1::FLOAT, NULL
    FROM second_set SEMI JOIN first_set USING (content_id)
),
strongest AS (
    FROM link
    QUALIFY row_number() OVER (PARTITION BY mine, theirs ORDER BY place, score DESC, space) = 1
)
SELECT s.uri AS item, o.uri AS twin, list_extract($1::VARCHAR[], l.place + 1) AS kind, l.score,
       l.threshold, l.space,
       sum(o.items) OVER (PARTITION BY s.item_id)::BIGINT AS twins,
       s.source, o.source AS twin_source, s.item_id, o.item_id AS twin_id
FROM second_set s
JOIN strongest l ON l.mine = s.content_id
JOIN original o ON o.content_id = l.theirs
QUALIFY row_number() OVER (PARTITION BY s.item_id ORDER BY l.place, l.score DESC, o.uri) = 1
ORDER BY l.place, l.score DESC, item, s.item_id"""


@dataclass(frozen=True, slots=True)
class Leakage:
    """What of a second set of items repeats a first one.

    Attributes:
        rows: a row a repeating item: item, twin, kind, score, threshold, space, twins (items of
            the first set that it repeats), source, twin_source, item_id, twin_id; the strongest
            evidence in front. `space` is null where bytes are equal.
        first: items of the first set.
        second: items of the second set.
        compared: spaces whose edges were looked at, those that hold contents of both sets.
        unseen: items of the second set that none of these holds: only their bytes were compared.
    """

    rows: pa.Table
    first: int
    second: int
    compared: tuple[str, ...]
    unseen: int


def find_leaks(
    lake: PinnedLake, settings: Settings, spaces: Sequence[SpaceRow], sets: tuple[str, str]
) -> Leakage:
    """Find the items of a second set that have a duplicate of any kind in a first one.

    Args:
        lake: held still at the snapshot to look at.
        settings: the sources and the thresholds.
        spaces: whose edges count; items of equal bytes are found without any.
        sets: a source's name, or an SQL condition over the columns of `items`, twice.

    Raises:
        QueryError: a condition is none, no item satisfies it, or an item satisfies both.
    """
    with connect(lake, lake.pinned) as connection:
        chosen = [_choose(connection, settings, one) for one in sets]
        for name, rows in zip(("first_set", "second_set"), chosen, strict=True):
            connection.register(name, rows)
        _refuse_overlap(connection)
        links, compared = [_LINKS.empty_table()], []
        seen = np.zeros(chosen[1].num_rows, np.bool_)
        for space in spaces:
            vectors = space_vectors(lake, settings, space)
            sides = [_side(vectors, rows["content_id"]) for rows in chosen]
            if all(side.any() for side in sides):
                links.append(_links(lake, settings, space, vectors, (sides[0], sides[1])))
                compared.append(space.label)
                seen |= vectors.rows_of(chosen[1]["content_id"]) != NO_ROW
        connection.register("links", pa.concat_tables(links))
        found = connection.sql(_FOUND, params=[list(KINDS)]).to_arrow_table()
    first, second = (rows.num_rows for rows in chosen)
    return Leakage(found, first, second, tuple(compared), int((~seen).sum()))


def _choose(connection: duckdb.DuckDBPyConnection, settings: Settings, chosen: str) -> pa.Table:
    """Return a set of items: item_id, content_id, uri, source."""
    sources = [source.name for source in settings.sources]
    condition = f"source = {quoted(chosen)}" if chosen in sources else chosen
    try:
        # DuckDB parses the condition alone, so it cannot end our statement and begin another.
        found = connection.view("items").filter(condition)
        rows = found.project("item_id, content_id, uri, source").to_arrow_table()
    except duckdb.Error as error:
        reason = " ".join(str(error).partition("\nLINE ")[0].split())
        hint = nearest_hint(chosen, sources)
        raise QueryError(f"'{chosen}' is no source and no condition.{hint} {reason}") from error
    if not rows.num_rows:
        raise QueryError(f"no item satisfies '{chosen}': is it ingested? 'latentlake run' does so.")
    return rows


def _refuse_overlap(connection: duckdb.DuckDBPyConnection) -> None:
    both = connection.sql(
        "SELECT count(*), min(uri) FROM first_set SEMI JOIN second_set USING (item_id)"
    ).fetchall()[0]
    if both[0]:
        raise QueryError(
            f"{both[0]:,} items are in both sets, {both[1]} for one: no item can leak from itself. "
            "Give conditions that exclude each other."
        )


def _side(vectors: ShardVectors, ids: pa.ChunkedArray) -> np.ndarray:
    """Tell which rows belong to a set: (rows,) bool."""
    rows = vectors.rows_of(ids)
    side = np.zeros(vectors.rows, np.bool_)
    side[rows[rows != NO_ROW]] = True
    return side


def _links(
    lake: PinnedLake,
    settings: Settings,
    space: SpaceRow,
    vectors: ShardVectors,
    sides: tuple[np.ndarray, np.ndarray],
) -> pa.Table:
    """Return the edges between the two sets that reach the threshold they were judged by."""
    edges = stored_edges(lake, settings, space, vectors)
    build = last_build(lake, "duplicates", space)
    recorded = json.loads(build["details"]) if build else {}
    edges = edges.with_thresholds(recorded.get("thresholds", {})).within()
    tables = []
    for mine, theirs in ((edges.first, edges.second), (edges.second, edges.first)):
        some = np.flatnonzero(sides[1][mine] & sides[0][theirs])
        chosen = edges.chosen(some)
        columns = [
            vectors.content_ids.take(pa.array(mine[some])),
            vectors.content_ids.take(pa.array(theirs[some])),
            pa.array(chosen.kinds.astype(np.int64)),
            pa.array(chosen.scores, pa.float32()),
            pa.array(chosen.least(), pa.float32()),
            pa.array([space.label] * some.size, pa.string()),
        ]
        tables.append(pa.Table.from_arrays(columns, schema=_LINKS))
    return pa.concat_tables(tables)
