"""`latentlake demo`: the whole job on the bundled samples, then three questions in SQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from latentlake.cli.options import examples, verbose_option
from latentlake.cli.terminal import shown
from latentlake.errors import ConfigError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from latentlake.cli.reading import Reading

QUESTIONS: Final = (
    (
        "Which photos repeat another one, and which is kept?",
        """SELECT removed.uri AS removed, kept.uri AS kept, kind, score
FROM duplicates
JOIN items removed ON removed.item_id = duplicates.item_id
JOIN items kept ON kept.item_id = twin_id
WHERE space = 'cnn'
ORDER BY score DESC, removed.uri LIMIT 8""",
    ),
    (
        "Which items are least like all others?",
        """SELECT space, rank, uri, percentile, left(excerpt, 60) AS excerpt
FROM anomalies JOIN items USING (content_id)
WHERE rank <= 4 ORDER BY space, rank, uri""",
    ),
    (
        "What are the clusters of abstracts about, and do they match arXiv's categories?",
        """SELECT cluster_id, size, array_to_string(terms, ' ') AS terms,
       arg_max(category, n) AS category, max(n) / sum(n) AS purity
FROM (SELECT space, cluster_id, metadata->>'primary_cat' AS category, count(*) AS n
      FROM clusters JOIN items USING (content_id) GROUP BY ALL)
JOIN cluster_summary USING (space, cluster_id)
WHERE space = 'words'
GROUP BY ALL ORDER BY size DESC, cluster_id LIMIT 8""",
    ),
)


_NO_SAMPLES: Final = ("lake", "__pycache__")
"""What may lie among the samples where somebody ran the pipeline on them in place."""

NEXT: Final = (
    "latentlake search networks that learn to see",
    "latentlake search --image photos/outwear/logo.png -k 5",
    "latentlake clusters --space words",
    "latentlake status",
)


@click.command(epilog=examples("latentlake demo", "latentlake demo --folder /tmp/demo"))
@click.option(
    "--folder",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the samples and their lake go.",
)
@verbose_option
def demo(folder: Path, verbose: bool) -> None:
    """Run everything on the bundled photos and abstracts.

    Copies 258 photos and 1,043 abstracts (CC0), among them near-duplicates, oddities and broken
    files planted on purpose, runs the pipeline over them and asks three questions in SQL. A second
    call finds nothing new.
    """
    from latentlake.cli.commands.run import pipeline_of
    from latentlake.cli.reading import reading
    from latentlake.cli.running import REFUSED, run_flow
    from latentlake.cli.summary import print_errors, print_outcome

    config = _copy_samples(folder)
    place = str(config.absolute())
    click.echo(f"The samples are in {folder}/. Running 'latentlake run' there.\n")
    outcome, timing = run_flow(place, lambda: pipeline_of(place), quiet=False, verbose=verbose)
    print_outcome(outcome, timing, hints=False)
    if outcome.errors:
        print_errors(outcome)
        raise click.exceptions.Exit(REFUSED)
    with reading(config) as lake:
        _tell(lake)
        for question, sql in QUESTIONS:
            _ask(lake, question, sql)
    click.echo(f"\nNow you, in this folder:  cd {folder}")
    for command in NEXT:
        click.echo(f"  {command}")


def _copy_samples(folder: Path) -> Path:
    """Copy what is not there yet, and return the configuration.

    Raises:
        ConfigError: the folder belongs to something else.
    """
    from importlib.resources import files

    samples = files("data") / "samples"
    config = folder / "latentlake.toml"
    original = samples / "latentlake.toml"
    is_foreign = folder.exists() and any(folder.iterdir()) and not config.is_file()
    if is_foreign or (config.is_file() and config.read_bytes() != original.read_bytes()):
        raise ConfigError(f"{folder} holds something else: choose another place by --folder.")
    _copy(samples, folder)
    return config


def _copy(source: Traversable, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        place = target / entry.name
        if entry.is_dir():
            if entry.name not in _NO_SAMPLES:
                _copy(entry, place)
        elif not place.exists():
            place.write_bytes(entry.read_bytes())


def _tell(lake: Reading) -> None:
    items = lake.rows("SELECT source, count(*) FROM items GROUP BY ALL ORDER BY ALL")
    counted = ", ".join(f"{count:,} {source}" for source, count in items)
    refused = lake.rows("SELECT source, uri, message FROM quarantine ORDER BY ALL")
    click.echo(f"\nIn the lake: {counted}. In quarantine, planted on purpose: {len(refused)}.")
    for source, uri, message in refused:
        click.echo(f"  {source}: {shown(uri)}: {shown(message)}")


def _ask(lake: Reading, question: str, sql: str) -> None:
    from latentlake.cli.output import Output

    click.echo(f"\n{question}")
    indented = sql.replace("\n", "\n    ")
    click.echo(f'\n    latentlake sql "{indented}"\n')
    Output().write(lake.query(sql))
