"""Options that several commands share, and what they parse into."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from latentlake.cli.output import FORMATS, Output

if TYPE_CHECKING:
    from collections.abc import Callable

REPORTS: Final = ("duplicates", "clusters", "anomalies")

EXIT_STATUS: Final = (
    "\n\nExit status: 0 done; 1 a stage was refused, the others are committed; 3 done, but some "
    "inputs are newly in quarantine: latentlake sql 'FROM quarantine' lists them."
)

R = TypeVar("R")

config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The configuration.  [default: the nearest latentlake.toml upwards]",
)
space_option = click.option("--space", metavar="NAME", help="The space.  [default: all]")
wait_option = click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait while another run writes to the lake.",
)
as_of_option = click.option(
    "--as-of",
    metavar="RUN|TIME|SNAPSHOT",
    help="The lake as that run left it, as it was at that time (ISO 8601, UTC), or by number.",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Show Prefect's own log of flows and tasks, too."
)


def output_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add `--format` and `--output`; the command gets them as one `output: Output`."""

    @click.option(
        "--format",
        "format_name",
        type=click.Choice(FORMATS),
        help="How the result is written.  [default: as --output is called, else table]",
    )
    @click.option(
        "-o",
        "--output",
        "path",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write to a file; .json, .csv and .parquet choose the format.",
    )
    @functools.wraps(command)
    def with_output(*, format_name: str | None, path: Path | None, **rest: Any) -> R:
        return command(output=Output.of(format_name, path), **rest)

    return with_output


def examples(*lines: str) -> str:
    """Return an epilog that shows commands as they are typed.

    A backspace on a line of its own keeps click from joining lines into a paragraph.
    """
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
