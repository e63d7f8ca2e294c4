"""`latentlake ingest`, `embed`, `index`, `graph` and `report`: one stage, as a run of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from collections.abc import Callable
    from pathlib import Path

    from latentlake.cli.running import Flow

_spaces = click.option(
    "--space", "spaces", multiple=True, metavar="NAME", help="Only this space; repeatable."
)


@click.command(
    epilog=examples("latentlake ingest", "latentlake ingest --source photos") + EXIT_STATUS
)
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@config_option
@wait_option
@quiet_option
@verbose_option
def ingest(
    sources: tuple[str, ...], config: Path | None, wait: bool, quiet: bool, verbose: bool
) -> None:
    """Find what is new, changed, moved or gone in the sources.

    A file whose size and modification time are known is not opened; all others are told apart by
    the hash of their content. What cannot be read goes to quarantine, with the reason.
    """

    def load(place: str) -> Flow:
        from flows.ingest import ingest as flow
        from tasks.parameters import IngestParameters

        return lambda: flow(IngestParameters(config=place, wait=wait, sources=sources))

    _run(load, config, quiet=quiet, verbose=verbose)


@click.command(
    epilog=examples("latentlake embed", "latentlake embed --space words --retrain") + EXIT_STATUS
)
@_spaces
@click.option(
    "--retrain",
    is_flag=True,
    help="Train the encoder anew on the present corpus, and encode everything with it.",
)
@config_option
@wait_option
@quiet_option
@verbose_option
def embed(
    spaces: tuple[str, ...],
    retrain: bool,
    config: Path | None,
    wait: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Encode what the spaces lack.

    Contents are encoded once, however many items have them, and written as immutable shards.
    A text encoder that learns from the corpus is trained first, when it has not been yet. New
    texts do not change it: that would change all vectors. --retrain does, when the corpus has.
    """

    def load(place: str) -> Flow:
        from flows.embed import embed as flow
        from tasks.parameters import EmbedParameters

        return lambda: flow(
            EmbedParameters(config=place, wait=wait, spaces=spaces, retrain=retrain)
        )

    _run(load, config, quiet=quiet, verbose=verbose)


@click.command(epilog=examples("latentlake index", "latentlake index --space cnn") + EXIT_STATUS)
@_spaces
@config_option
@wait_option
@quiet_option
@verbose_option
def index(
    spaces: tuple[str, ...], config: Path | None, wait: bool, quiet: bool, verbose: bool
) -> None:
    """Build and measure the search indexes.

    The kind of index follows from size and dimension; its recall@10 is measured against brute
    force and stored beside it: the view indexes has it, with its confidence interval.
    """

    def load(place: str) -> Flow:
        from flows.index import index as flow
        from tasks.parameters import SpaceParameters

        return lambda: flow(SpaceParameters(config=place, wait=wait, spaces=spaces))

    _run(load, config, quiet=quiet, verbose=verbose)


@click.command(epilog=examples("latentlake graph", "latentlake graph --space cnn") + EXIT_STATUS)
@_spaces
@config_option
@wait_option
@quiet_option
@verbose_option
def graph(
    spaces: tuple[str, ...], config: Path | None, wait: bool, quiet: bool, verbose: bool
) -> None:
    """Link every content with its nearest neighbours.

    The reports read this one graph; in SQL it is the view neighbours.
    """

    def load(place: str) -> Flow:
        from flows.graph import graph as flow
        from tasks.parameters import SpaceParameters

        return lambda: flow(SpaceParameters(config=place, wait=wait, spaces=spaces))

    _run(load, config, quiet=quiet, verbose=verbose)


@click.command(
    epilog=examples("latentlake report", "latentlake report --report duplicates --space cnn")
    + EXIT_STATUS
)
@_spaces
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Choice(REPORTS),
    help="Only this report; repeatable.",
)
@config_option
@wait_option
@quiet_option
@verbose_option
def report(
    spaces: tuple[str, ...],
    reports: tuple[str, ...],
    config: Path | None,
    wait: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compute duplicates, clusters and anomalies.

    'latentlake duplicates', 'clusters' and 'anomalies' show them.
    """

    def load(place: str) -> Flow:
        from flows.report import report as flow
        from tasks.parameters import ALL_REPORTS, ReportParameters

        chosen = tuple(name for name in ALL_REPORTS if name in reports) or ALL_REPORTS
        return lambda: flow(
            ReportParameters(config=place, wait=wait, spaces=spaces, reports=chosen)
        )

    _run(load, config, quiet=quiet, verbose=verbose)


def _run(load: Callable[[str], Flow], config: Path | None, *, quiet: bool, verbose: bool) -> None:
    from latentlake.cli.running import conclude, config_path, run_flow

    place = config_path(config)
    outcome, timing = run_flow(place, lambda: load(place), quiet=quiet, verbose=verbose)
    conclude(outcome, timing, quiet=quiet)
