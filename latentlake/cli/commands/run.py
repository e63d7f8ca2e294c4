"""`latentlake run`: the whole pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from latentlake.cli.options import (
    EXIT_STATUS,
    REPORTS,
    config_option,
    examples,
    quiet_option,
    verbose_option,
    wait_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    from latentlake.cli.running import Flow


@click.command(
    epilog=examples(
        "latentlake run",
        "latentlake run --source photos --space cnn",
        "latentlake run --report duplicates --quiet",
    )
    + EXIT_STATUS
)
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Ingest only this one.")
@click.option("--space", "spaces", multiple=True, metavar="NAME", help="Renew only this one.")
@click.option(
    "--report", "reports", multiple=True, type=click.Choice(REPORTS), help="Only this report."
)
@config_option
@wait_option
@quiet_option
@verbose_option
def run(config: Path | None, quiet: bool, verbose: bool, **chosen: Any) -> None:
    """Run all stages over what is new.

    Ingest, embed, index, graph, report; then one snapshot makes the new state visible. A run
    without news changes nothing and says so. Kill it whenever you like: the next one resumes.

    --source, --space and --report may be given several times.
    """
    from latentlake.cli.running import conclude, config_path, run_flow

    place = config_path(config)
    outcome, timing = run_flow(
        place, lambda: pipeline_of(place, **chosen), quiet=quiet, verbose=verbose
    )
    conclude(outcome, timing, quiet=quiet)


def pipeline_of(config: str, **chosen: Any) -> Flow:
    """Import the flow `pipeline` and return its call; choices that are empty mean all."""
    from flows.pipeline import pipeline
    from tasks.parameters import PipelineParameters

    given = {name: names for name, names in chosen.items() if names != ()}
    parameters = PipelineParameters(config=config, **given)
    return lambda: pipeline(parameters)
