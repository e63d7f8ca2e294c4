"""`latentlake init`: a commented configuration, filled in from what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from latentlake.cli.options import examples
from latentlake.errors import ConfigError

_FILE = click.Path(exists=True, path_type=Path)


@click.command(
    epilog=examples(
        "latentlake init",
        "latentlake init --images photos",
        "latentlake init --text abstracts.parquet --text-column abstract --key arxiv_id",
        "latentlake init --vectors embeddings.npy",
    )
)
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--images", metavar="PATH", type=_FILE, help="A folder, tar or Parquet of images.")
@click.option("--text", metavar="PATH", type=_FILE, help="A folder or file of texts.")
@click.option("--text-column", metavar="NAME", help="The column or key that holds the text.")
@click.option(
    "--vectors",
    metavar="PATH",
    type=_FILE,
    help="A folder or file of vectors: Parquet, Arrow, npy.",
)
@click.option("--vector-column", metavar="NAME", help="The column that holds the vector.")
@click.option("--key", metavar="NAME", help="The column or key that names a text or vector.")
@click.option("--force", is_flag=True, help="Overwrite an existing latentlake.toml.")
def init(
    folder: Path,
    images: Path | None,
    text: Path | None,
    vectors: Path | None,
    force: bool,
    **named: Any,
) -> None:
    """Write a commented latentlake.toml.

    Without --images, --text and --vectors it looks for photos and for files of texts or vectors in
    FOLDER and proposes what it finds; nothing else is written or read.
    """
    _refuse_orphans(text, vectors, named)

    from latentlake.cli.config_file import config_text
    from latentlake.cli.proposals import (
        propose,
        proposed_images,
        proposed_text,
        proposed_vectors,
    )
    from latentlake.cli.terminal import shown
    from latentlake.settings import CONFIG_NAME, load_settings

    path = folder / CONFIG_NAME
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already: --force overwrites it.")
    if images is None and text is None and vectors is None:
        sources = propose(folder)
    else:
        sources = [proposed_images(folder, images)] if images else []
        key = named["key"]
        if text:
            sources.append(proposed_text(folder, text, named["text_column"], key))
        if vectors:
            sources.append(proposed_vectors(folder, vectors, named["vector_column"], key))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(config_text(sources), "utf-8")
    load_settings(path)
    click.echo(f"Wrote {shown(str(path))}:")
    for source in sources:
        click.echo(f"  {shown(source.description)}")
    if sources:
        click.echo("Next: look it over, then 'latentlake run'.")
    else:
        click.echo(
            "  no source yet, because no images, texts or vectors were found: add one to the file."
        )


def _refuse_orphans(text: Path | None, vectors: Path | None, named: dict[str, Any]) -> None:
    """Refuse a column of nothing."""
    if text is None and named["text_column"]:
        raise click.UsageError("--text-column says something about --text; give that, too.")
    if vectors is None and named["vector_column"]:
        raise click.UsageError("--vector-column says something about --vectors; give that, too.")
    if text is None and vectors is None and named["key"]:
        raise click.UsageError("--key says something about --text or --vectors; give one, too.")
