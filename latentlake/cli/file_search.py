"""`latentlake search --file`: the hits of many queries, and which have no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from latentlake.cli.output import Output, Result
from latentlake.cli.progress import drawing

if TYPE_CHECKING:
    from pathlib import Path

    from data.lake import Lake, Snapshot
    from latentlake.settings import Settings

PARTLY: Final = 3
"""The exit status where some queries were answered and others were not."""
_NAMED: Final = 10
"""Queries without an answer that are named; the others are counted."""


def search_file(
    lake: Lake,
    settings: Settings,
    path: Path,
    output: Output,
    snapshot: Snapshot | None,
    **asked: Any,
) -> tuple[int, bool]:
    """Answer the queries of a file, and name on stderr those that cannot be answered.

    Args:
        lake: where to look.
        settings: how encoders run.
        path: the file.
        output: where the hits go.
        snapshot: the state to look in; None for the last.
        asked: `space`, `k` and `where` of `ManyQueries`.

    Returns:
        How many vectors are newer than the index, and whether all queries were answered.

    Raises:
        QueryError: no query of the file can be answered.
    """
    from data.query_files import read_queries
    from tasks.stages.batch_search import ManyQueries, search_many

    with drawing(quiet=False):
        found = search_many(lake, settings, ManyQueries(read_queries(path), **asked), snapshot)
        shown = ("query", "rank", "similarity", "word" if _is_words(found.reader) else "uri")
        json_columns = frozenset({"metadata"} & set(found.reader.schema.names))
        output.write(Result(found.reader, json_columns=json_columns, shown=shown))
    for name, problem in found.problems[:_NAMED]:
        click.echo(f"latentlake: query {name}: {problem}.", err=True)
    if found.problems:
        click.echo(
            f"latentlake: {len(found.problems):,} of {found.asked:,} queries were not answered.",
            err=True,
        )
    return found.unindexed, not found.problems


def _is_words(reader: Any) -> bool:
    return "word" in reader.schema.names
