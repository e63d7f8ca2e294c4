"""`latentlake vacuum`, `compact`, `restore`, `verify`, `migrate`: keeping a lake."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from latentlake.cli.options import (
    as_of_option,
    config_option,
    examples,
    output_options,
    wait_option,
)
from latentlake.cli.output import Output, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data.lake import Lake
    from data.maintenance.findings import Finding
    from data.maintenance.vacuuming import Removal
    from latentlake.settings import Settings
    from tasks.stages.runs import RunSummary


@click.command(
    epilog=examples(
        "latentlake vacuum",
        "latentlake vacuum --keep-runs 10 --yes",
        "latentlake vacuum --keep-days 30 --format json",
    )
)
@click.option("--keep-runs", metavar="N", type=click.IntRange(1), help="Keep the last N snapshots.")
@click.option(
    "--keep-days", metavar="D", type=click.FloatRange(0), help="Keep snapshots of the last D days."
)
@click.option(
    "--grace-hours",
    metavar="H",
    default=24.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Leave files alone that are younger: a run at work may be about to name them.",
)
@click.option("--yes", is_flag=True, help="Remove; without it this only says what would go.")
@wait_option
@config_option
@output_options
def vacuum(yes: bool, wait: bool, config: Path | None, output: Output, **rules: Any) -> None:
    """Remove what no kept snapshot needs.

    That is: snapshots beyond --keep-runs and --keep-days (without either all are kept, with both
    those that either keeps, the last one always), files of tables and shards that only those
    needed, shards of runs that were killed, old indexes and models, plans and temporary files. Your
    sources are never touched.
    """
    from datetime import UTC, datetime

    from data.maintenance.vacuuming import Retention, plan_vacuum
    from tasks.stages.maintaining import vacuum_lake

    lake, _ = _open(config)
    retention = Retention(**rules)
    if yes:
        removals = vacuum_lake(lake, retention, wait=wait)
    else:
        removals = plan_vacuum(lake, retention, datetime.now(UTC))
    output.write(_removal_result(removals, done=yes))


@click.command(epilog=examples("latentlake compact", "latentlake compact --drop-unused"))
@click.option(
    "--shard-rows",
    metavar="N",
    type=click.IntRange(1),
    help="Vectors a shard, at most.  [default: run.shard_rows]",
)
@click.option(
    "--drop-unused", is_flag=True, help="Leave out vectors of contents that no item has any more."
)
@wait_option
@config_option
def compact(shard_rows: int | None, drop_unused: bool, wait: bool, config: Path | None) -> None:
    """Join many small shards and files into few.

    Contents, vectors and their order stay as they are, bit for bit, so nothing is built anew.
    Readers of older snapshots are not disturbed: the old files stay until 'latentlake vacuum'.
    """
    from tasks.stages.maintaining import CompactionOptions, compact_lake

    options = CompactionOptions(shard_rows, drop_unused)
    tell(compact_lake(*_open(config), options, wait=wait))


@click.command(epilog=examples("latentlake restore 12", "latentlake restore 2026-03-01T12:00"))
@click.argument("state", metavar="RUN|TIME|SNAPSHOT")
@wait_option
@config_option
def restore(state: str, wait: bool, config: Path | None) -> None:
    """Make an older state the current one.

    It becomes a new snapshot: history is kept, and the states in between can be restored, too. The
    next run works from there and reads again what differs.
    """
    from data.maintenance.asof import resolve_snapshot
    from tasks.stages.maintaining import restore_lake

    lake, settings = _open(config)
    tell(restore_lake(lake, settings, resolve_snapshot(lake, state), wait=wait))


@click.command(
    epilog=examples(
        "latentlake verify", "latentlake verify --format json", "latentlake verify --mend"
    )
)
@click.option(
    "--mend",
    is_flag=True,
    help="Drop damaged shards and forget damaged builds, so that the next run makes them again.",
)
@as_of_option
@config_option
@output_options
@click.pass_context
def verify(
    ctx: click.Context, mend: bool, as_of: str | None, config: Path | None, output: Output
) -> None:
    """Check that the lake is what it says.

    Reads everything: the seal of each shard (a digest of every byte), footers, ids, vectors and
    norms; row counts; indexes against vectors; reports against contents and items; snapshots and
    the catalog. Each finding says what is wrong and how to mend it. Exit status 1 if there is one.
    """
    from data.maintenance.asof import resolve_snapshot
    from tasks.stages.maintaining import mend_lake
    from tasks.stages.verifying import verify_lake

    if mend and as_of:
        raise click.UsageError("--mend changes the current state: it does not go with --as-of.")
    lake, settings = _open(config)
    snapshot = resolve_snapshot(lake, as_of) if as_of else None
    findings = list(verify_lake(lake, snapshot))
    output.write(_finding_result(findings))
    if mend and any(finding.mend for finding in findings):
        mended = mend_lake(lake, settings, findings)
        click.echo(
            f"latentlake: mended; snapshot {mended.snapshot}: run 'latentlake run'.", err=True
        )
    if findings:
        ctx.exit(1)


@click.command(epilog=examples("latentlake migrate", "latentlake migrate --yes"))
@click.option("--yes", is_flag=True, help="Migrate; without it this only says what would be done.")
@wait_option
@config_option
def migrate(yes: bool, wait: bool, config: Path | None) -> None:
    """Bring a lake of an older version to this one's layout.

    Tables and shards are written anew beside the old ones, and a new snapshot shows them; older
    snapshots stay, but this version cannot read them.
    """
    from data.maintenance.migrating import summaries
    from tasks.stages.maintaining import migrate_lake, needs_migration

    lake, settings = _open(config)
    steps = needs_migration(lake)
    if steps is None:
        click.echo("Nothing to migrate.")
        return
    for line in summaries(steps):
        click.echo(line)
    for step in steps:
        click.echo(f"  {step.folder}")
    if yes:
        tell(migrate_lake(lake, settings, wait=wait))
    else:
        click.echo("'latentlake migrate --yes' does it.")


def _open(config: Path | None) -> tuple[Lake, Settings]:
    from data.lake import Lake
    from latentlake.settings import load_settings

    settings = load_settings(config)
    return Lake(settings.root), settings


def tell(summary: RunSummary) -> None:
    """Say what a run of maintenance did."""
    from tasks.stages.summaries import result_line

    for receipt in summary.receipts:
        click.echo(f"{receipt.stage} {receipt.subject}: {result_line(receipt)}")
    if summary.changed:
        click.echo(f"Snapshot {summary.snapshot}.")
    else:
        click.echo(f"Nothing to do: the lake stays at snapshot {summary.snapshot}.")


def _removal_result(removals: Sequence[Removal], *, done: bool) -> Result:
    import pyarrow as pa

    schema = pa.schema([("kind", pa.string()), ("path", pa.string()), ("size_bytes", pa.int64())])
    table = pa.Table.from_pylist([asdict(removal) for removal in removals], schema)
    freed = sum(removal.size_bytes for removal in removals)
    what = f"{len(removals):,} files, {freed:,} bytes"
    if not removals:
        note = "Nothing to remove."
    else:
        note = f"Removed {what}." if done else f"Would remove {what}: --yes does it."
    return Result.of(table, note=note)


def _finding_result(findings: Sequence[Finding]) -> Result:
    import pyarrow as pa

    names = ("subject", "problem", "remedy")
    rows = [{name: getattr(finding, name) for name in names} for finding in findings]
    table = pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in names]))
    return Result.of(table, note=f"{len(findings)} findings." if findings else "The lake is sound.")
