"""`latentlake duplicates calibrate`: a threshold for a precision."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentlake.cli.options import (
    config_option,
    examples,
    output_options,
    space_option,
    wait_option,
)
from latentlake.cli.output import Output, Result

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.stages.calibrations import Calibration


@click.command(
    epilog=examples(
        "latentlake duplicates calibrate --space cnn",
        "latentlake duplicates calibrate --space words --precision 0.95 --plot words.svg",
    )
)
@space_option
@click.option(
    "--precision",
    default=0.98,
    show_default=True,
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the pairs above the threshold that are to be duplicates.",
)
@click.option(
    "--sample",
    default=300,
    show_default=True,
    metavar="N",
    type=click.IntRange(1),
    help="Contents to alter.",
)
@click.option(
    "--plot",
    metavar="FILE.svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the histograms.",
)
@wait_option
@config_option
@output_options
def calibrate(space: str | None, config: Path | None, output: Output, **wanted: Any) -> None:
    """Choose the threshold of a space for a precision, by its own contents.

    Sampled contents are altered (photos: crop, re-encoding, resize, flip, blur, caption; texts:
    typos, case, cut, reorder) and encoded: what they score is what duplicates score. What the pairs
    in the data score tells how many of them are duplicates, and how fast the others grow rare.

    The outcome is stored, and holds for this version of the space: duplicates.threshold = "auto"
    uses it from the next run on.
    """
    from latentlake.cli.calibrations import calibration_svg, calibration_text
    from latentlake.cli.pinning import pinned_spaces
    from latentlake.cli.progress import drawing
    from latentlake.cli.snapshots import open_lake
    from latentlake.cli.terminal import json_text
    from tasks.stages.calibrating import Wanted, calibrate_space

    _, _, spaces = pinned_spaces(config, space)
    if len(spaces) != 1:
        listed = ", ".join(row.label for row in spaces) or "none yet"
        raise click.UsageError(f"name one --space to calibrate: {listed}.")
    wishes = Wanted(wanted["precision"], wanted["sample"])
    with drawing(quiet=False):
        name = spaces[0].id.name
        found, _ = calibrate_space(*open_lake(config), name, wishes, wait=wanted["wait"])
    if wanted["plot"] is not None:
        Output("text", wanted["plot"]).write_text(calibration_svg(name, found))
    if output.format_name == "table":
        output.write_text(calibration_text(name, found))
    elif output.format_name == "json":
        output.write_text(json_text([{"space": name, **asdict(found)}], indent=1) + "\n")
    else:
        output.write(Result.of(_histograms(found)))


def _histograms(found: Calibration) -> pa.Table:
    """Return a row a bin."""
    import pyarrow as pa

    columns = {name: getattr(found, name) for name in ("of_copies", "of_pairs", "of_far_pairs")}
    return pa.table({"from": found.edges[:-1], "to": found.edges[1:], **columns})
