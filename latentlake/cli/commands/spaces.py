"""`latentlake spaces`: the versions of spaces, held against each other, and which one is read."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from latentlake.cli.groups import ListingGroup
from latentlake.cli.options import config_option, examples, output_options, wait_option
from latentlake.cli.output import Output, Result
from latentlake.cli.terminal import json_text

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    cls=ListingGroup,
    epilog=examples(
        "latentlake spaces",
        "latentlake spaces show cnn",
        "latentlake spaces compare cnn",
        "latentlake spaces promote cnn",
    ),
)
def spaces() -> None:
    """List, compare and promote the versions of spaces.

    Another encoder, option or training makes another version of a space, beside the one that is
    read. A name alone means the current version, NAME@FINGERPRINT any; the beginning of the
    fingerprint will do.
    """


@spaces.command("list", epilog=examples("latentlake spaces", "latentlake spaces --format json"))
@config_option
@output_options
def list_spaces(config: Path | None, output: Output) -> None:
    """List the versions of all spaces.

    The current version is what search, SQL and reports read. A waiting one takes its place when it
    is complete, or when it is promoted. A former one can be gone back to.
    """
    from latentlake.cli.lineage import spaces_result
    from latentlake.cli.snapshots import last_snapshot
    from tasks.stages.lineage import version_states

    lake, settings, snapshot = last_snapshot(config)
    output.write(spaces_result(version_states(lake, settings, snapshot)))


@spaces.command(epilog=examples("latentlake spaces show cnn", "latentlake spaces show cnn@1a2b"))
@click.argument("version", metavar="NAME[@FINGERPRINT]")
@config_option
@output_options
def show(version: str, config: Path | None, output: Output) -> None:
    """Say all about one version of a space.

    What it is made of, its vectors, its index with the measured recall, the run that made it, and
    in what the configuration asks for something else by now.
    """
    from latentlake.cli.lineage import figures, version_text
    from latentlake.cli.snapshots import last_snapshot
    from tasks.stages.lineage import version_state

    state = version_state(*last_snapshot(config), version)
    match output.format_name:
        case "table":
            output.write_text(version_text(state))
        case "json":
            output.write_text(json_text([asdict(state)], indent=1) + "\n")
        case _:
            output.write(Result.of(figures(asdict(state))))


@spaces.command(
    epilog=examples(
        "latentlake spaces compare cnn",
        "latentlake spaces compare cnn cnn@configured --sample 1000",
        "latentlake spaces compare words meaning --format json",
    )
)
@click.argument("one", metavar="A")
@click.argument("other", metavar="[B]", required=False)
@click.option(
    "--sample",
    metavar="N",
    default=2000,
    show_default=True,
    type=click.IntRange(12),
    help="Contents to compare, at most.",
)
@click.option(
    "--seed", default=0, show_default=True, type=int, help="Of the choice of these contents."
)
@config_option
@output_options
def compare(
    one: str,
    other: str | None,
    sample: int,
    seed: int,
    config: Path | None,
    output: Output,
) -> None:
    """Hold two versions against each other on the same contents.

    By brute force over a sample: the share of each content's nearest ten that stays, linear CKA,
    the orthogonal Procrustes residual, and which duplicates and anomalies would be decided
    otherwise; the table lists some of these, other formats all.

    B may be a space that the lake does not hold yet: NAME@configured is what latentlake.toml says,
    and the sample is encoded for it. Without B it is what would replace A: the version that
    waits, else the configured one. Nothing is written. CSV and Parquet have a row a flip.
    """
    from latentlake.cli.comparison import comparison_json, comparison_text, flips_table
    from latentlake.cli.progress import drawing
    from latentlake.cli.snapshots import open_lake
    from tasks.stages.comparing import compare_spaces

    lake, settings = open_lake(config)
    with drawing(quiet=False):
        found = compare_spaces(lake, settings, (one, other), sample, seed)
    match output.format_name:
        case "table":
            output.write_text(comparison_text(found))
        case "json":
            output.write_text(comparison_json(found))
        case _:
            output.write(Result.of(flips_table(found)))


@spaces.command(
    epilog=examples("latentlake spaces promote cnn", "latentlake spaces promote cnn@1a2b")
)
@click.argument("version", metavar="NAME[@FINGERPRINT]")
@click.option("--force", is_flag=True, help="Even if it lacks what the current version has.")
@wait_option
@config_option
def promote(version: str, force: bool, wait: bool, config: Path | None) -> None:
    """Make a version the current one, or go back to one.

    NAME alone means the version that waits. Readers see the old version or the new one, whole. The
    one that is replaced stays, to go back to; those before it are forgotten.
    """
    from latentlake.cli.commands.maintenance import tell
    from latentlake.cli.snapshots import open_lake
    from tasks.stages.promoting import promote_version

    tell(promote_version(*open_lake(config), version, force=force, wait=wait))
