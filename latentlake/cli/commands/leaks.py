"""`latentlake duplicates --between`: what of one set repeats another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from latentlake.cli.commands.reports import KINDS
from latentlake.cli.options import (
    as_of_option,
    config_option,
    examples,
    output_options,
    space_option,
)
from latentlake.cli.output import Output, Result

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.stages.leaking import Leakage


@click.command(
    epilog=examples(
        "latentlake duplicates --between train,test",
        "latentlake duplicates --between train --and test --fail-if-any",
        "latentlake duplicates --between \"metadata->>'split' = 'train'\" "
        "--and \"metadata->>'split' = 'test'\"",
        "latentlake duplicates --between train,test --format csv --output leaks.csv",
    )
)
@click.option(
    "--between",
    "first",
    metavar="SET[,SET]",
    required=True,
    help="The set that may be repeated: a source, or an SQL condition over items; or two sources.",
)
@click.option("--and", "second", metavar="SET", help="The set whose items may repeat it.")
@click.option("--fail-if-any", is_flag=True, help="End with exit status 1 if there is one.")
@space_option
@click.option("--kind", type=click.Choice(KINDS), help="Only duplicates of this kind.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="How many.  [default: all]")
@as_of_option
@config_option
@output_options
@click.pass_context
def leaks(  # noqa: PLR0913  one parameter an option
    ctx: click.Context,
    *,
    first: str,
    second: str | None,
    fail_if_any: bool,
    space: str | None,
    kind: str | None,
    limit: int | None,
    as_of: str | None,
    config: Path | None,
    output: Output,
) -> None:
    """List the items of one set that repeat an item of another.

    Each row is an item of the second set, its nearest twin in the first, and the kind, score and
    threshold that say so. Looked at are the pairs that the report of duplicates was made from, so
    nothing is computed anew; sets that no space holds together are compared by their bytes only.
    """
    import pyarrow.compute as pc

    from latentlake.cli.pinning import pinned_spaces
    from tasks.stages.leaking import find_leaks

    sets = _sets(first, second)
    lake, settings, spaces = pinned_spaces(config, space, as_of)
    found = find_leaks(lake, settings, spaces, sets)
    rows = found.rows if kind is None else found.rows.filter(pc.equal(found.rows["kind"], kind))
    shown = ("item", "twin", "kind", "score", "threshold", "twins")
    shortened = rows if limit is None else rows.slice(0, limit)
    note = _told(found, sets)
    output.write(Result.of(shortened, shown=shown, note=note))
    if output.format_name != "table" or output.path:
        click.echo(f"latentlake: {note}", err=True)
    if fail_if_any and rows.num_rows:
        ctx.exit(1)


def _sets(first: str, second: str | None) -> tuple[str, str]:
    """Return both sets; two sources may stand in one option."""
    if second is not None:
        return first, second
    one, comma, other = (part.strip() for part in first.partition(","))
    if not (one and comma and other) or "," in other:
        raise click.UsageError("name two sources, --between A,B, or two sets, --between A --and B.")
    return one, other


def _told(found: Leakage, sets: tuple[str, str]) -> str:
    """Say how many items repeat the other set, by what, and where that was looked for."""
    counted = dict.fromkeys(found.rows["kind"].to_pylist(), 0)
    for kind in found.rows["kind"].to_pylist():
        counted[kind] += 1
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counted.items())
    told = (
        f"{found.rows.num_rows:,} of {found.second:,} items of '{sets[1]}' repeat one of "
        f"{found.first:,} of '{sets[0]}'{f': {kinds}' if kinds else ''}."
    )
    if found.unseen:
        told += f" {found.unseen:,} are in no space with the first set: only bytes were compared."
    return told
