"""What a user may say in SQL: statements that read.

The connection of `data.catalog.connect` is locked to the lake's folder, but DuckDB has no lock
against writing there: COPY, ATTACH and EXPORT would, and since DuckDB 2.0 a COPY can also stand
inside the WITH of a SELECT. So a statement is looked at in DuckDB's own parse before it runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from latentlake.errors import QueryError

if TYPE_CHECKING:
    import duckdb

_READING: Final = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_NODE = re.compile(r'"type":"([A-Z_]+_NODE)"')
_EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?\s+(?=\w)", re.IGNORECASE)


def require_reading(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse everything but SELECT (with FROM, SHOW, DESCRIBE, SUMMARIZE, ...) and its EXPLAIN.

    Args:
        connection: parses; nothing is run on it.
        sql: one or more statements.

    Raises:
        QueryError: a statement would do something else than read.
        duckdb.Error: it is no SQL.
    """
    for statement in connection.extract_statements(sql):
        kind, text = statement.type.name, statement.query
        if kind == "EXPLAIN":  # EXPLAIN ANALYZE runs what it explains
            text = _EXPLAIN.sub("", text, count=1)
        if not _reads(connection, text):
            raise QueryError(
                f"'{' '.join(text.split())[:60]}': only statements that read can be asked, SELECT "
                "and its like. A result goes to a file by --output; PIVOT needs its values (IN)."
            )


def _reads(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    # Nothing but SELECT can be serialised. Quotes in its names and strings are escaped there.
    parsed: str = connection.execute("SELECT json_serialize_sql($1)", [text]).fetchall()[0][0]
    nodes = set(_NODE.findall(parsed))
    return bool(nodes) and nodes <= _READING
