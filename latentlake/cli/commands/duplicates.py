"""`latentlake duplicates`: the report, plans for another one, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from latentlake.cli.commands.calibrate import calibrate
from latentlake.cli.commands.leaks import leaks
from latentlake.cli.commands.reports import duplicates as list_duplicates
from latentlake.cli.groups import ListingGroup
from latentlake.cli.options import (
    as_of_option,
    config_option,
    examples,
    output_options,
    space_option,
)
from latentlake.cli.output import Output, Result
from latentlake.cli.sheets import plan_strip, sheet_option, with_sheet
from latentlake.names import RULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from data.catalog import SpaceRow
    from latentlake.settings import Settings
    from tasks.stages.auditing import Audit
    from tasks.stages.kept_sets import Way
    from tasks.stages.removal_plans import Plan

_PLAN_OPTIONS: Final = frozenset(
    {"--dry-run", "--threshold", "--keep", "--rule", "--budget", "--null"}
    | {"--export-keep", "--export-remove", "--link", "--copy"}
)
_LEAK_OPTIONS: Final = frozenset({"--between", "--and", "--fail-if-any"})
_file = click.Path(dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


class _Duplicates(ListingGroup):
    """Lists when nothing else is said; an option of `plan` or `leaks` alone means that command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `plan` or `leaks` in front of its options."""
        given = {arg.partition("=")[0] for arg in args}
        if args and args[0].startswith("-"):
            if given & _PLAN_OPTIONS:
                args = ["plan", *args]
            elif given & _LEAK_OPTIONS:
                args = ["leaks", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Duplicates,
    epilog=examples(
        "latentlake duplicates",
        "latentlake duplicates --space cnn --kind perceptual",
        "latentlake duplicates --space cnn --dry-run --threshold 0.95",
        "latentlake duplicates --space cnn --budget 2GB --export-remove remove.txt",
        "latentlake duplicates --between train,test --fail-if-any",
        "latentlake duplicates audit",
        "latentlake duplicates calibrate --space cnn",
    ),
)
def duplicates() -> None:
    """List items that repeat another one, and which.

    Options without a command are those of 'list', or of 'plan' or 'leaks' where one of them is
    only its own.
    Nothing is ever deleted from your sources.
    """


duplicates.add_command(list_duplicates, "list")
duplicates.add_command(leaks, "leaks")


@duplicates.command(
    epilog=examples(
        "latentlake duplicates plan --threshold 0.95",
        'latentlake duplicates plan --keep "modified_at asc" --format csv -o plan.csv',
        "latentlake duplicates plan --rule components",
        "latentlake duplicates plan --budget 1000 --export-remove remove.csv",
        "latentlake duplicates plan --budget 2GB --export-remove remove.txt",
        "latentlake duplicates plan --space cnn --threshold 0.4 --sheet more.jpg",
        "latentlake duplicates plan --link /data/kept",
    )
)
@space_option
@click.option(
    "--threshold",
    type=float,
    metavar="SCORE",
    help="The least score of near-duplicates.  [default: as the report has it]",
)
@click.option(
    "--keep",
    metavar="SQL",
    help="Which of several is kept: an order over the columns of items.  [default: as configured]",
)
@click.option(
    "--rule",
    type=click.Choice(RULES),
    help="Who stays, and as whose twin others go.  [default: as configured]",
)
@click.option(
    "--budget",
    metavar="N|SIZE",
    help="Choose the threshold: remove at most N items, or free at least SIZE, such as 2GB.",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    help="How many removals to show a space; files have all.  [default: all]",
)
@sheet_option
@click.option("--export-keep", metavar="FILE", type=_file, help="Write the list of what stays.")
@click.option("--export-remove", metavar="FILE", type=_file, help="Write the list of what goes.")
@click.option("--null", is_flag=True, help="End plain paths with NUL, for 'xargs -0'.")
@click.option("--link", metavar="DIR", type=_folder, help="Hard-link what stays into a folder.")
@click.option("--copy", metavar="DIR", type=_folder, help="Copy what stays into a folder.")
@click.option(
    "--dry-run", is_flag=True, expose_value=False, help="Said of every plan: the lake stays."
)
@as_of_option
@config_option
@output_options
def plan(
    space: str | None, as_of: str | None, config: Path | None, output: Output, **wishes: Any
) -> None:
    """Show the report as other settings would have it.

    It is decided anew from the stored edges, without encoding or searching, and the lake is not
    changed. What the stored report has otherwise comes first. Files for --export-keep and
    --export-remove hold all columns where they end with .csv, .json, .jsonl or .parquet, else plain
    paths, one a line.

    With a budget of items the threshold is the lowest that keeps to it, with one of bytes the
    highest. --link and --copy lay out the kept items below DIR, a folder for each source; they go
    on with what was broken off, and replace and remove nothing.
    """
    from latentlake.cli.pinning import pinned_spaces
    from latentlake.cli.reading import reading
    from tasks.stages.removal_budgets import Budget
    from tasks.stages.removal_plans import Wishes, plan_removals

    if wishes["budget"] and wishes["threshold"] is not None:
        raise click.UsageError("--budget chooses the threshold: leave out --threshold.")
    if wishes["link"] and wishes["copy"]:
        raise click.UsageError("choose one of --link and --copy.")
    lake, settings, spaces = pinned_spaces(config, space, as_of)
    budget = Budget.parse(wishes["budget"]) if wishes["budget"] else None
    wanted = Wishes(wishes["threshold"], wishes["keep"], budget, wishes["rule"])
    plans = [plan_removals(lake, settings, row, wanted) for row in _chosen(spaces, wishes)]
    lines = [made.line() for made in plans]
    for made in plans:
        lines += _carry_out(settings, made, wishes)
    result = _plan_result(plans, "\n".join(lines), wishes["limit"])
    if wishes["sheet"] is None:
        output.write(result)
        return
    with reading(config, str(lake.pinned.number)) as seen:
        output.write(with_sheet(seen, result, wishes["sheet"], plan_strip))


@duplicates.command(
    epilog=examples(
        "latentlake duplicates audit",
        "latentlake duplicates audit --space cnn --sample 5000",
        "latentlake duplicates audit --space cnn --missed",
    )
)
@space_option
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(1),
    help="Contents to compare with all.  [default: duplicates.audit]",
)
@click.option("--missed", is_flag=True, help="List missed pairs instead, 100 a space at most.")
@as_of_option
@config_option
@output_options
def audit(
    space: str | None, as_of: str | None, config: Path | None, output: Output, **wanted: Any
) -> None:
    """Measure how many pairs the search has missed.

    The true neighbours of sampled contents are found by comparing these with all others, in one
    pass over the vectors. Exit status 1 where the share that is missed is above
    duplicates.max_missed by its whole 95 % interval.
    """
    import pyarrow as pa

    from latentlake.cli.pinning import pinned_spaces
    from latentlake.cli.progress import drawing
    from tasks.stages.auditing import MISSED, audit_now

    lake, settings, spaces = pinned_spaces(config, space, as_of)
    with drawing(quiet=False):
        measured = [(row, audit_now(lake, settings, row, wanted["sample"])) for row in spaces]
    audits = [(row, *made) for row, made in measured if made is not None]
    if wanted["missed"]:
        tables = [pairs for _, _, pairs in audits]
        output.write(Result.of(pa.concat_tables([MISSED.empty_table(), *tables])))
    else:
        output.write(_audit_result({row.label: made for row, made, _ in audits}))
    errors = [
        made.failure(row.label, settings.space(row.id.name).duplicates.max_missed)
        for row, made, _ in audits
    ]
    for error in filter(None, errors):
        click.echo(f"latentlake: {error}", err=True)
    if any(errors):
        raise click.exceptions.Exit(1)


duplicates.add_command(calibrate)


def _chosen(spaces: list[SpaceRow], wishes: dict[str, Any]) -> list[SpaceRow]:
    """Return the spaces to plan for: what is written to one place is about one space."""
    single = ("budget", "threshold", "export_keep", "export_remove", "link", "copy")
    if len(spaces) > 1 and any(wishes[name] is not None for name in single):
        listed = ", ".join(row.label for row in spaces)
        raise click.UsageError(f"name one --space for this plan: {listed}.")
    return spaces


def _carry_out(settings: Settings, plan: Plan, wishes: dict[str, Any]) -> list[str]:
    """Write what was asked for; return a line for each thing."""
    from latentlake.cli.exports import export_items
    from latentlake.cli.progress import drawing
    from tasks.stages.kept_sets import lay_out

    lines = []
    for path, items in (
        (wishes["export_keep"], plan.kept),
        (wishes["export_remove"], plan.removals),
    ):
        if path is not None:
            export_items(settings, items, path, null=wishes["null"])
            lines.append(f"{path}: {items.num_rows:,} items.")
    folder: Path | None = wishes["link"] or wishes["copy"]
    if folder is not None:
        way: Way = "link" if wishes["link"] else "copy"
        with drawing(quiet=False):
            lines.append(lay_out(settings, plan.kept, folder, way).line(folder, way))
    return lines


def _plan_result(plans: Sequence[Plan], note: str, limit: int | None) -> Result:
    import pyarrow as pa

    hidden = ("file", "key", "position")
    first = [_changes_first(plan.removals).slice(0, limit) for plan in plans]
    removals = pa.concat_tables(first, promote_options="permissive")
    table = removals.select([name for name in removals.column_names if name not in hidden])
    shown = ("uri", "twin_uri", "kind", "score", "threshold", "size_bytes", "change")
    return Result.of(table, shown=shown if len(plans) == 1 else ("space", *shown), note=note)


def _changes_first(removals: pa.Table) -> pa.Table:
    """Put what the stored report has otherwise before the rest, in order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    same = pc.equal(removals["change"], "same")
    return pa.concat_tables([removals.filter(pc.invert(same)), removals.filter(same)])


def _audit_result(audits: dict[str, Audit]) -> Result:
    import pyarrow as pa

    from tasks.stages.auditing import AUDITS

    rows = [{"space": name, **asdict(audit)} for name, audit in audits.items()]
    note = "" if rows else "Nothing to audit: no space has pairs, or their audit is switched off."
    shown = ("space", "threshold", "sampled", "pairs", "missed", "missed_low", "missed_high")
    return Result.of(pa.Table.from_pylist(rows, AUDITS), shown=shown, note=note)
