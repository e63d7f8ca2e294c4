"""The command `latentlake`: a static table of commands, so that help costs nothing."""

from __future__ import annotations

from typing import Final

import click

from latentlake.cli.lazy import LazyCommand, LazyGroup

_HERE = "latentlake.cli.commands"
_START, _RUN, _ASK, _STATE = "Start", "Run the pipeline", "Ask the lake", "See what is there"
_KEEP = "Keep the lake"

COMMANDS: Final = {
    "init": LazyCommand(f"{_HERE}.init:init", "Write a commented latentlake.toml.", _START),
    "demo": LazyCommand(
        f"{_HERE}.demo:demo", "Run everything on the bundled photos and abstracts.", _START
    ),
    "doctor": LazyCommand(
        f"{_HERE}.doctor:doctor", "Check the installation, the machine and the project.", _START
    ),
    "encoders": LazyCommand(
        f"{_HERE}.encoders:encoders", "List what a space can be made with.", _START
    ),
    "run": LazyCommand(f"{_HERE}.run:run", "Run all stages over what is new.", _RUN),
    "ingest": LazyCommand(
        f"{_HERE}.stages:ingest", "Find what is new, changed, moved or gone in the sources.", _RUN
    ),
    "embed": LazyCommand(f"{_HERE}.stages:embed", "Encode what the spaces lack.", _RUN),
    "index": LazyCommand(f"{_HERE}.stages:index", "Build and measure the search indexes.", _RUN),
    "graph": LazyCommand(
        f"{_HERE}.stages:graph", "Link every content with its nearest neighbours.", _RUN
    ),
    "report": LazyCommand(
        f"{_HERE}.stages:report", "Compute duplicates, clusters and anomalies.", _RUN
    ),
    "search": LazyCommand(
        f"{_HERE}.search:search",
        "Find the items nearest to a text, an image, a vector or an item.",
        _ASK,
    ),
    "sql": LazyCommand(f"{_HERE}.sql:sql", "Ask the lake's tables in SQL.", _ASK),
    "duplicates": LazyCommand(
        f"{_HERE}.duplicates:duplicates", "List items that repeat another one, and which.", _ASK
    ),
    "clusters": LazyCommand(
        f"{_HERE}.reports:clusters", "Summarise the groups of a space, or list one.", _ASK
    ),
    "anomalies": LazyCommand(
        f"{_HERE}.reports:anomalies", "List the items that are least like the others.", _ASK
    ),
    "status": LazyCommand(f"{_HERE}.status:status", "Say what the lake holds.", _STATE),
    "runs": LazyCommand(f"{_HERE}.status:runs", "List the runs that changed the lake.", _STATE),
    "spaces": LazyCommand(
        f"{_HERE}.spaces:spaces", "List, compare and promote the versions of spaces.", _STATE
    ),
    "models": LazyCommand(
        f"{_HERE}.models:models", "Say what vectors are made with, and what differs.", _STATE
    ),
    "verify": LazyCommand(
        f"{_HERE}.maintenance:verify", "Check that the lake is what it says.", _KEEP
    ),
    "verify-duplicates": LazyCommand(
        f"{_HERE}.proofs:verify_duplicates",
        "Prove the report of duplicates from what is stored.",
        _KEEP,
    ),
    "vacuum": LazyCommand(
        f"{_HERE}.maintenance:vacuum", "Remove what no kept snapshot needs.", _KEEP
    ),
    "compact": LazyCommand(
        f"{_HERE}.maintenance:compact", "Join many small shards and files into few.", _KEEP
    ),
    "restore": LazyCommand(
        f"{_HERE}.maintenance:restore", "Make an older state the current one.", _KEEP
    ),
    "export": LazyCommand(
        f"{_HERE}.export:export", "Write a table, or the vectors of a space, to a file.", _KEEP
    ),
    "migrate": LazyCommand(
        f"{_HERE}.maintenance:migrate",
        "Bring a lake of an older version to this one's layout.",
        _KEEP,
    ),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="'latentlake COMMAND --help' has examples. Exit status: 0 done, 1 refused with a "
    "reason, 2 wrong usage, 3 done but some inputs are newly in quarantine, 130 interrupted.",
)
@click.version_option(package_name="latentlake", prog_name="latentlake")
def cli() -> None:
    """Embed images and texts, find what is near, doubled or odd, and ask for it in SQL.

    Begin with 'latentlake init' in a folder of photos or texts, then 'latentlake run'.
    """


def main() -> None:
    """Run the command line: the console script `latentlake`."""
    cli()


if __name__ == "__main__":
    main()
