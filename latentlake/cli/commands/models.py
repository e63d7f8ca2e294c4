"""`latentlake models`: what vectors were made with."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from latentlake.cli.groups import ListingGroup
from latentlake.cli.options import config_option, examples, output_options
from latentlake.cli.output import Output, Result
from latentlake.cli.terminal import json_text

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    cls=ListingGroup,
    epilog=examples(
        "latentlake models", "latentlake models show cnn", "latentlake models compare cnn cnn@1a2b"
    ),
)
def models() -> None:
    """Say what vectors are made with, and what differs.

    A model is an encoder with its weights, preprocessing, precision class and options: what its
    fingerprint stands for. It is named by the beginning of that, or by a version of a space.
    """


@models.command("list", epilog=examples("latentlake models", "latentlake models --format json"))
@config_option
@output_options
def list_models(config: Path | None, output: Output) -> None:
    """List the models of all vectors in the lake."""
    from latentlake.cli.lineage import models_result
    from latentlake.cli.snapshots import last_snapshot
    from tasks.stages.model_lineage import model_states

    lake, _, snapshot = last_snapshot(config)
    output.write(models_result(model_states(lake, snapshot)))


@models.command(epilog=examples("latentlake models show cnn", "latentlake models show 1a2b3c4d"))
@click.argument("model", metavar="MODEL")
@config_option
@output_options
def show(model: str, config: Path | None, output: Output) -> None:
    """Say all that a model says of itself."""
    from latentlake.cli.lineage import figures, model_text
    from latentlake.cli.snapshots import last_snapshot
    from tasks.stages.model_lineage import model_state

    lake, _, snapshot = last_snapshot(config)
    state = model_state(lake, snapshot, model)
    match output.format_name:
        case "table":
            output.write_text(model_text(state))
        case "json":
            output.write_text(json_text([asdict(state)], indent=1) + "\n")
        case _:
            output.write(Result.of(figures(asdict(state))))


@models.command(epilog=examples("latentlake models compare cnn cnn@1a2b"))
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@config_option
@output_options
def compare(one: str, other: str, config: Path | None, output: Output) -> None:
    """List the parts in which two models differ.

    'latentlake spaces compare' says what that does to vectors and reports.
    """
    from latentlake.cli.lineage import differences_result
    from latentlake.cli.snapshots import last_snapshot
    from tasks.stages.model_lineage import differences, model_state

    lake, _, snapshot = last_snapshot(config)
    both = [model_state(lake, snapshot, name) for name in (one, other)]
    output.write(differences_result(differences(*both)))
