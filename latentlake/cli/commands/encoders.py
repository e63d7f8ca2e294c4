"""`latentlake encoders`: what a space can be made with."""

from __future__ import annotations

from dataclasses import asdict

import click

from latentlake.cli.options import examples, output_options
from latentlake.cli.output import Output, Result


@click.command(epilog=examples("latentlake encoders", "latentlake encoders --format json"))
@output_options
def encoders(output: Output) -> None:
    """List what a space can be made with.

    Each encoder has a line: what it takes, what it is, the optional extra that installs what it
    needs, and whether that is there. Put its name into 'encoder' of a space.
    """
    import pyarrow as pa

    from models.encoders.summaries import summaries

    rows = pa.Table.from_pylist([asdict(one) for one in summaries()])
    note = "An extra is installed by: pip install -c constraints.txt -e '.[EXTRA]'"
    output.write(Result.of(rows, note=note))
