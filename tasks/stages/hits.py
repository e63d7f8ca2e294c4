"""What a search finds, as rows for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb

_SHOWN: Final = ("item_id", "source", "uri", "excerpt", "width", "height", "metadata")
Row = dict[str, Any]

HITS: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("similarity", pa.float32()),
        ("item_id", pa.string()),
        ("source", pa.string()),
        ("uri", pa.string()),
        ("copies", pa.list_(pa.string())),
        ("excerpt", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("metadata", pa.string()),
    ]
)
"""One row a content: an item that has it, and the URIs of all its other items as `copies`."""

WORD_HITS: Final = pa.schema(
    [
        ("rank", pa.int64()),
        ("similarity", pa.float32()),
        ("word", pa.string()),
        ("count", pa.int64()),
        ("frequency_rank", pa.int64()),
        ("content_id", pa.string()),
    ]
)
"""One row a word; `count` and `frequency_rank` are those of the table `vocabulary`."""


def shown_items(
    connection: duckdb.DuckDBPyConnection, contents: list[str], where: str | None
) -> dict[str, Row]:
    """Return for each content an item that has it and satisfies a condition, with its copies.

    Args:
        connection: over a snapshot.
        contents: ids; each has such an item.
        where: an SQL expression over `items`; None for any item.

    Returns:
        The columns of `HITS` but rank and similarity, by content.
    """
    relation = connection.sql(
        "SELECT * FROM items WHERE content_id IN (SELECT unnest($1::VARCHAR[]))", params=[contents]
    )
    others: dict[str, list[Row]] = {content: [] for content in contents}
    for row in _ordered(relation):
        others[row["content_id"]].append(row)
    shown: dict[str, Row] = {}
    for row in _ordered(filtered(relation, where)):
        shown.setdefault(row["content_id"], row)
    return {
        content: {name: shown[content][name] for name in _SHOWN}
        | {
            "copies": [
                row["uri"] for row in others[content] if row["item_id"] != shown[content]["item_id"]
            ]
        }
        for content in contents
    }


def filtered(items: duckdb.DuckDBPyRelation, where: str | None) -> duckdb.DuckDBPyRelation:
    """Keep the items for which a user's expression holds.

    DuckDB parses the expression alone, so it cannot end our statement and begin another.
    """
    return items if where is None else items.filter(where)


def _ordered(items: duckdb.DuckDBPyRelation) -> list[Row]:
    columns = ", ".join(("content_id", *_SHOWN))
    ordered = items.project(columns).order("source, uri, item_id")
    rows: list[Row] = ordered.to_arrow_table().to_pylist()
    return rows
