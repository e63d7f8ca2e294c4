"""`latentlake status` and `runs`: what the lake holds and how it came there."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from latentlake.cli.options import as_of_option, config_option, examples, output_options
from latentlake.cli.output import Output, Result
from latentlake.cli.terminal import json_text

if TYPE_CHECKING:
    from pathlib import Path

RUNS = """
SELECT run_id, command, started_at, epoch(finished_at - started_at) AS seconds,
       peak_memory_bytes / 1048576 AS peak_mib, counts, seconds AS stage_seconds, config_hash,
       versions, parent_snapshot
FROM runs ORDER BY parent_snapshot DESC, started_at DESC LIMIT $1"""

_EXPECTED = frozenset({"files", "read", "unchanged", "bad", "pending", "vectors", "contents"})
"""Counts that say what was looked at, not what was done."""


@click.command(
    epilog=examples("latentlake status", "latentlake status --format json | jq '.[0].spaces'")
)
@as_of_option
@config_option
@output_options
def status(as_of: str | None, config: Path | None, output: Output) -> None:
    """Say what the lake holds.

    Items and quarantine by source; by space its encoder, vectors, index with its measured recall,
    graph and reports. All of it is of one snapshot, and all of it is in SQL, too. JSON is an array
    with one nested object; CSV and Parquet have one row a figure.
    """
    from latentlake.cli.overview import figures, overview, overview_text
    from latentlake.cli.reading import reading

    with reading(config, as_of) as lake:
        seen = overview(lake)
    match output.format_name:
        case "table":
            output.write_text(overview_text(seen))
        case "json":
            output.write_text(json_text([asdict(seen)], indent=1) + "\n")
        case _:
            output.write(Result.of(figures(seen)))


@click.command(epilog=examples("latentlake runs", "latentlake runs -n 1 --format json"))
@click.option(
    "-n", "count", default=20, show_default=True, type=click.IntRange(1), help="The latest so many."
)
@config_option
@output_options
def runs(count: int, config: Path | None, output: Output) -> None:
    """List the runs that changed the lake.

    Runs without news leave no trace. JSON, CSV and Parquet also have each stage's counts and
    seconds, the configuration's hash and the libraries' versions.
    """
    import pyarrow as pa

    from latentlake.cli.reading import reading

    with reading(config) as lake:
        result = lake.query(RUNS, [count])
        table = result.reader.read_all()
    did = pa.array([_did(json.loads(text)) for text in table["counts"].to_pylist()], pa.string())
    output.write(
        Result.of(
            table.append_column("did", did),
            json_columns=result.json_columns,
            shown=("run_id", "command", "started_at", "seconds", "peak_mib", "did"),
        )
    )


def _did(counts: dict[str, dict[str, Any]]) -> str:
    """Say what a run did, by stage: "ingest photos 253 new; embed cnn 253 encoded, 1 shards"."""
    from tasks.stages.summaries import counted

    parts = []
    for stage, numbers in counts.items():
        done = [
            counted(name, number)
            for name, number in numbers.items()
            if number and name not in _EXPECTED
        ]
        if done:
            parts.append(f"{stage} {', '.join(done)}")
    return "; ".join(parts)
