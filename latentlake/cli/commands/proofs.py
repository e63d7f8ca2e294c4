"""`latentlake verify-duplicates`: the report of duplicates, proved from what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

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


@click.command(
    epilog=examples(
        "latentlake verify-duplicates",
        "latentlake verify-duplicates --space cnn --format json",
    )
)
@space_option
@as_of_option
@config_option
@output_options
@click.pass_context
def verify_duplicates(
    ctx: click.Context, space: str | None, as_of: str | None, config: Path | None, output: Output
) -> None:
    """Prove the report of duplicates from what is stored.

    Every removed item has a kept twin within the threshold, by a stored edge and by the vectors
    themselves; no two kept items have a known edge that reaches it; items are those kept and those
    removed, each once. A row for each flaw; exit status 1 if there is one. Nothing is trusted that
    the report's own code has computed.
    """
    import pyarrow as pa

    from latentlake.cli.pinning import pinned_spaces
    from tasks.stages.certifying import certify, with_places

    lake, settings, spaces = pinned_spaces(config, space, as_of)
    found = [certificate for row in spaces if (certificate := certify(lake, settings, row))]
    flaws = [with_places(lake, certificate.flaws) for certificate in found]
    note = "\n".join(certificate.line() for certificate in found) or "No report of duplicates yet."
    shown = ("space", "check", "item", "twin", "problem")
    empty = with_places(lake, None)
    output.write(Result.of(pa.concat_tables([empty, *flaws]), shown=shown, note=note))
    if any(table.num_rows for table in flaws):
        ctx.exit(1)
