"""Which SQL is run for a user: what reads, and nothing that writes, however it is wrapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from data.statements import require_reading
from latentlake.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute("CREATE TABLE items AS SELECT 1 AS n, 'a' AS uri")
        yield made


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM items",
        "FROM items",
        "  -- a comment\n SELECT 1; SELECT 2 ;",
        "WITH a AS (SELECT 1), b AS (FROM a) SELECT * FROM b UNION ALL FROM a",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) FROM r",
        "VALUES (1), (2)",
        "TABLE items",
        "SHOW TABLES",
        "DESCRIBE items",
        "SUMMARIZE items",
        "PIVOT items ON uri IN ('a') USING count(*)",
        "EXPLAIN SELECT 1",
        "explain analyze FROM items",
        'SELECT \'COPY x TO y\', \'"type":"COPY_QUERY_NODE"\' AS "copy"',
        "SELECT * FROM items WHERE n = (SELECT max(n) FROM items)",
    ],
)
def test_what_reads_is_run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    require_reading(connection, statement)
    connection.sql(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY items TO '{file}'",
        "COPY (SELECT 1) TO '{file}' (FORMAT parquet)",
        "WITH w AS (COPY items TO '{file}') SELECT 1",
        "WITH a AS (SELECT 1), w AS (COPY items TO '{file}') FROM a",
        "EXPLAIN ANALYZE COPY items TO '{file}'",
        "EXPLAIN (ANALYZE) COPY items TO '{file}'",
        "EXPLAIN /* */ ANALYZE COPY items TO '{file}'",
        "EXPLAIN ANALYZE WITH w AS (COPY items TO '{file}') SELECT 1",
        "COPY (PIVOT items ON uri USING count(*)) TO '{file}'",
        "SELECT 1; COPY items TO '{file}'",
        "ATTACH '{file}'",
        "EXPORT DATABASE '{file}'",
        "IMPORT DATABASE '{file}'",
        "CREATE TABLE t AS SELECT 1",
        "CREATE OR REPLACE VIEW items AS SELECT 2",
        "DROP TABLE items",
        "WITH w AS (INSERT INTO items VALUES (2, 'b') RETURNING n) SELECT * FROM w",
        "UPDATE items SET n = 2",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "SET threads = 1",
        "PREPARE p AS COPY items TO '{file}'",
        "LOAD httpfs",
        "CHECKPOINT",
    ],
)
def test_what_writes_is_refused_before_it_is_run(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, statement: str
) -> None:
    with pytest.raises(QueryError, match="only statements that read"):
        require_reading(connection, statement.format(file=tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
    assert connection.execute("FROM items").fetchall() == [(1, "a")]


@pytest.mark.parametrize(
    "wrapped",
    [
        "SELECT * FROM query('WITH w AS (COPY items TO ''{file}'') SELECT 1')",
        "SELECT * FROM query('COPY items TO ''{file}''')",
        "SELECT (WITH w AS (COPY items TO '{file}') SELECT 1)",
    ],
)
def test_a_query_in_a_query_cannot_write_either(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, wrapped: str
) -> None:
    statement = wrapped.format(file=tmp_path / "out")

    def ask() -> None:
        require_reading(connection, statement)
        connection.sql(statement).fetchall()

    with pytest.raises((QueryError, duckdb.Error)):
        ask()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_sql_is_duckdb_s_to_explain(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.ParserException, match="syntax error"):
        require_reading(connection, "SELEC 1")
