"""`latentlake init`: a commented configuration, filled in from what is there."""

from __future__ import annotations

from pathlib import Path

import click

from latentlake.cli.options import examples
from latentlake.errors import ConfigError

_FILE = click.Path(exists=True, path_type=Path)


@click.command(
    epilog=examples(
        "latentlake init",
        "latentlake init --images photos",
        "latentlake init --text abstracts.parquet --text-column abstract --key arxiv_id",
    )
)
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--images", metavar="PATH", type=_FILE, help="A folder, tar or Parquet of images.")
@click.option("--text", metavar="PATH", type=_FILE, help="A folder or file of texts.")
@click.option("--text-column", metavar="NAME", help="The column or key that holds the text.")
@click.option("--key", metavar="NAME", help="The column or key that names a text.")
@click.option("--force", is_flag=True, help="Overwrite an existing latentlake.toml.")
def init(
    folder: Path,
    images: Path | None,
    text: Path | None,
    text_column: str | None,
    key: str | None,
    force: bool,
) -> None:
    """Write a commented latentlake.toml.

    Without --images and --text it looks for photos and for files of texts in FOLDER and proposes
    what it finds; nothing else is written or read.
    """
    if text is None and (text_column or key):
        raise click.UsageError(
            "--text-column and --key say something about --text; give that, too."
        )

    from latentlake.cli.proposals import config_text, propose, proposed_images, proposed_text
    from latentlake.cli.terminal import shown
    from latentlake.settings import CONFIG_NAME, load_settings

    path = folder / CONFIG_NAME
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already: --force overwrites it.")
    if images is None and text is None:
        sources = propose(folder)
    else:
        sources = [proposed_images(folder, images)] if images else []
        sources += [proposed_text(folder, text, text_column, key)] if text else []
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(config_text(sources), "utf-8")
    load_settings(path)
    click.echo(f"Wrote {shown(str(path))}:")
    for source in sources:
        click.echo(f"  {shown(source.description)}")
    if sources:
        click.echo("Next: look it over, then 'latentlake run'.")
    else:
        click.echo("  no source yet, because no images or texts were found: add one to the file.")
