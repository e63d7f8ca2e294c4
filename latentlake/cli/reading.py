"""Reading the lake for a command: one snapshot, locked; errors with a way out."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from data.catalog import connect
from data.lake import Lake, Snapshot
from data.maintenance.asof import resolve_snapshot
from latentlake.cli.output import Result
from latentlake.errors import QueryError, nearest_hint
from latentlake.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_BATCH_ROWS = 2048
_OF_OURS = re.compile(r"^Invalid Input Error: Python exception occurred while .* UDF: \w+: ")
"""What DuckDB puts before an error that a function of ours has raised."""


@dataclass(frozen=True)
class Reading:
    """An open lake: what is configured, and a connection to one snapshot."""

    settings: Settings
    lake: Lake
    snapshot: Snapshot
    connection: duckdb.DuckDBPyConnection

    def query(self, sql: str, parameters: Sequence[Any] = (), **rest: Any) -> Result:
        """Run one of our own statements; values go in as parameters only.

        Args:
            sql: with `$1`, `$2`, ... or `?` for the parameters.
            parameters: the values.
            rest: fields of the `Result`.
        """
        relation = self.connection.sql(sql, params=list(parameters))
        return result_of(relation, **rest)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of one of our own statements."""
        return self.connection.execute(sql, list(parameters)).fetchall()

    def require_space(self, name: str | None) -> str | None:
        """Check a space's name, where one is given.

        Raises:
            QueryError: the lake has no such space; the nearest name is given.
        """
        known = [
            row[0] for row in self.rows("SELECT space FROM spaces WHERE is_current ORDER BY 1")
        ]
        if name is not None and name not in known:
            listed = ", ".join(known) or "none yet"
            raise QueryError(
                f"no space '{name}'.{nearest_hint(name, known)} In the lake: {listed}."
            )
        return name


@contextmanager
def reading(config: Path | None, as_of: str | None = None) -> Iterator[Reading]:
    """Open the lake that a configuration names, to read one snapshot.

    Args:
        config: the configuration's file.
        as_of: a run, a time or a snapshot's number; by default the last snapshot.

    Raises:
        ConfigError: the configuration is missing or wrong.
        LakeNotFoundError: no run has ended yet.
        QueryError: there is no such state, or DuckDB refuses what was asked inside the block.
    """
    settings = load_settings(config)
    lake = Lake(settings.root)
    snapshot = resolve_snapshot(lake, as_of) if as_of else lake.snapshot()
    connection = connect(lake, snapshot)
    try:
        yield Reading(settings, lake, snapshot, connection)
    except duckdb.Error as error:
        raise QueryError(explain(error, connection)) from error
    finally:
        connection.close()


def result_of(relation: duckdb.DuckDBPyRelation, **rest: Any) -> Result:
    """Stream a relation, and remember which of its columns hold JSON."""
    types = zip(relation.columns, relation.types, strict=True)
    nested = frozenset(name for name, kind in types if str(kind) == "JSON")
    return Result(relation.to_arrow_reader(_BATCH_ROWS), json_columns=nested, **rest)


def explain(error: duckdb.Error, connection: duckdb.DuckDBPyConnection) -> str:
    """Say on one line what DuckDB did not like; for a wrong name also which ones there are."""
    message = _OF_OURS.sub("", " ".join(str(error).partition("\nLINE ")[0].split()))
    if isinstance(error, duckdb.CatalogException) and "Table with name" in message:
        views = connection.execute(
            "SELECT table_name FROM information_schema.tables ORDER BY table_name"
        ).fetchall()
        message += f" In the lake: {', '.join(name for (name,) in views)}."
    return message
