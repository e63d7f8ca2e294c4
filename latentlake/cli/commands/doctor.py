"""`latentlake doctor`: what is installed, what the machine can do, whether the project is sound."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from latentlake.cli.options import config_option, examples, output_options
from latentlake.cli.output import Output, Result
from latentlake.cli.terminal import shown

if TYPE_CHECKING:
    from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from latentlake.cli.checks import Check

_MARKS: Final = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command(epilog=examples("latentlake doctor", "latentlake doctor --bench"))
@config_option
@click.option(
    "--bench",
    is_flag=True,
    help="Also measure how fast this machine is.",
)
@output_options
def doctor(config: Path | None, bench: bool, output: Output) -> None:
    """Check the installation, the machine and the project.

    Each line is ok, warn or fail, with what to do about it. Works outside a project, too. Exits 1
    if something fails.
    """
    from latentlake.cli.checks import check_all, checks_table

    checks = check_all(config)
    if bench:
        from latentlake.cli.speeds import measure_all

        click.echo("Measuring, half a minute...", err=True)
        checks += measure_all()
    if output.format_name == "table":
        output.write_text(_text(checks))
    else:
        output.write(Result.of(checks_table(checks)))
    if any(check.state == "fail" for check in checks):
        raise click.exceptions.Exit(1)


def _text(checks: list[Check]) -> str:
    width = max(len(check.subject) for check in checks)
    lines = []
    for check in checks:
        mark, colour = _MARKS[check.state]
        mark = click.style(mark, fg=colour) if sys.stdout.isatty() else mark
        lines.append(f"{mark}  {check.subject:<{width}}  {shown(check.finding)}")
        if check.remedy:
            lines.append(f"{' ' * (width + 8)}-> {shown(check.remedy)}")
    return "\n".join(lines) + "\n"
