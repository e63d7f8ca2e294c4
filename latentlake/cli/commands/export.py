"""`latentlake export`: a table or a space as a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from latentlake.cli.options import as_of_option, config_option, examples

if TYPE_CHECKING:
    from data.lake import Lake, Snapshot

_FORMATS: Final = ("parquet", "npy", "arrow", "csv", "json")


@click.command(
    epilog=examples(
        "latentlake export cnn --to vectors.npy",
        "latentlake export cnn --to vectors.arrow",
        "latentlake export items --to items.csv --as-of 2026-03-01",
    )
)
@click.argument("name", metavar="TABLE|SPACE")
@click.option(
    "--to",
    "path",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, whole or not at all.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(_FORMATS),
    help="What it holds.  [default: as --to is called]",
)
@as_of_option
@config_option
def export(
    name: str, path: Path, format_name: str | None, as_of: str | None, config: Path | None
) -> None:
    """Write a table, or the vectors of a space, to a file.

    A space has the contents that an item points to: content_id, vector, norm. NumPy gets the
    matrix, and the ids beside it, one a line, in FILE with the suffix .ids.txt. Arrow (IPC) keeps
    vectors as lists of a fixed size. All is streamed: the result may be larger than memory.
    """
    from data.lake import Lake
    from data.maintenance.asof import resolve_snapshot
    from latentlake.settings import load_settings

    chosen = format_name or path.suffix.lstrip(".").lower()
    if chosen not in _FORMATS:
        raise click.UsageError(f"choose a --format: '{path.name}' does not say which.")
    lake = Lake(load_settings(config).root)
    snapshot = resolve_snapshot(lake, as_of) if as_of else lake.snapshot()
    if chosen == "npy":
        _write_npy(lake, name, snapshot, path)
    else:
        _write_rows(lake, name, snapshot, path, chosen)


def _write_npy(lake: Lake, name: str, snapshot: Snapshot, path: Path) -> None:
    from data.maintenance.exporting import write_npy
    from data.storage import replacing

    with (
        replacing(path.absolute().with_suffix(".ids.txt")) as ids_path,
        replacing(path.absolute()) as vectors_path,
        ids_path.open("wb") as ids,
        vectors_path.open("wb") as vectors,
    ):
        write_npy(lake, name, snapshot, vectors, ids)


def _write_rows(lake: Lake, name: str, snapshot: Snapshot, path: Path, chosen: str) -> None:
    from data.maintenance.exporting import read_rows, write_arrow
    from data.schemas import JSON_COLUMNS
    from data.storage import replacing
    from latentlake.cli.formats import write_csv, write_json, write_parquet

    reader = read_rows(lake, name, snapshot)
    nested = {
        field.name
        for field in reader.schema
        if field.name in JSON_COLUMNS and str(field.type) == "string"
    }
    with replacing(path.absolute()) as temporary, temporary.open("wb") as stream:
        match chosen:
            case "parquet":
                write_parquet(reader, stream)
            case "arrow":
                write_arrow(reader, stream)
            case "csv":
                write_csv(reader, stream)
            case _:
                write_json(reader, nested, stream)
