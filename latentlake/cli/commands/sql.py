"""`latentlake sql`: any statement over the lake's views."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentlake.cli.options import as_of_option, config_option, examples, output_options

if TYPE_CHECKING:
    from latentlake.cli.output import Output


@click.command(
    epilog=examples(
        "latentlake sql 'SELECT source, count(*) FROM items GROUP BY ALL'",
        "latentlake sql 'SHOW TABLES'",
        "latentlake sql 'DESCRIBE items'",
        "latentlake sql \"SELECT uri, metadata->>'primary_cat' AS category FROM items LIMIT 5\"",
        "latentlake sql \"FROM nearest('cnn', 'ITEM_ID', 5) JOIN items USING (content_id)\"",
        "latentlake sql --file questions.sql --format json | jq '.[0]'",
        "latentlake sql 'SELECT * FROM embeddings_cnn' --output vectors.parquet",
    )
)
@click.argument("query", required=False)
@click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Read the statement from a file; '-' is standard input.",
)
@as_of_option
@config_option
@output_options
def sql(
    query: str | None, file: Path | None, as_of: str | None, config: Path | None, output: Output
) -> None:
    """Ask the lake's tables in SQL.

    DuckDB answers, over the last snapshot or that of --as-of: views items, quarantine, duplicates,
    clusters, cluster_summary, anomalies, neighbours, indexes, spaces, runs, and embeddings_<space>
    for each space. nearest('space', item id or vector, k) asks the search index, and has columns
    content_id and similarity. Only statements that read are run, and they see the lake alone. QUERY
    may be '-' for standard input.

    CSV, JSON and Parquet are streamed, so a result may be larger than memory.
    """
    statement = _statement(query, file)

    from data.statements import require_reading
    from latentlake.cli.reading import reading, result_of
    from tasks.stages.nearest import add_nearest

    with reading(config, as_of) as lake:
        add_nearest(lake.connection, lake.lake, lake.settings, lake.snapshot)
        require_reading(lake.connection, statement)
        relation = lake.connection.sql(statement)
        if relation is not None:
            output.write(result_of(relation))


def _statement(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise click.UsageError("give either a QUERY or --file.")
    if query == "-" or (file is not None and str(file) == "-"):
        text = sys.stdin.read()
    else:
        text = query if file is None else file.read_text("utf-8")
    if not (text or "").strip():
        raise click.UsageError("the QUERY is empty.")
    return text or ""
