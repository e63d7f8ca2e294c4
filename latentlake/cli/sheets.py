"""`--sheet FILE`: the pictures that a report's rows are about, beside the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentlake.cli.terminal import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from latentlake.cli.output import Result
    from latentlake.cli.reading import Reading
    from tasks.stages.sheets import Strip


def _drawable(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that is called as no sheet is, before anything is done."""
    if path is None:
        return None
    from data.sheets import FORMATS

    if path.suffix.lower() not in FORMATS:
        raise click.UsageError(f"--sheet {path}: name a file that ends with .jpg or .png.")
    return path


sheet_option = click.option(
    "--sheet",
    metavar="FILE.jpg",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_drawable,
    help="Draw the pictures of the first 60 rows, too: .jpg or .png.",
)


def with_sheet(
    lake: Reading, result: Result, path: Path | None, strip_of: Callable[[dict[str, Any]], Strip]
) -> Result:
    """Draw what a result is about, where a file for it was named, and say so below the table.

    Args:
        lake: whose pictures.
        result: the rows.
        path: the file; None for no sheet.
        strip_of: makes a strip of a row.

    Raises:
        QueryError: no row is about pictures.
    """
    if path is None:
        return result
    from data.storage import replacing
    from tasks.stages.sheets import draw_strips

    table = result.reader.read_all()
    strips = [strip_of(row) for row in table.to_pylist()]
    drawn, count = draw_strips(lake.settings, lake.connection, strips, path.suffix)
    with replacing(path.absolute()) as temporary:
        temporary.write_bytes(drawn)
    note = f"{path}: {count:,} of {table.num_rows:,} rows drawn."
    return replace(result, reader=table.to_reader(), note=f"{result.note}\n{note}".strip())


def duplicate_strip(row: dict[str, Any]) -> Strip:
    """Return what goes and what stays, side by side."""
    from tasks.stages.sheets import Strip

    lines = (
        f"{row['kind']} {row['score']:.4f}, threshold {row['threshold']:.4g}",
        f"goes: {row['removed']}",
        f"stays: {row['kept']}",
    )
    return Strip((row["item_id"], row["twin_id"]), tuple(map(shown, lines)))


def plan_strip(row: dict[str, Any]) -> Strip:
    """Return what a plan would remove, and what it would keep."""
    return duplicate_strip(row | {"removed": row["uri"], "kept": row["twin_uri"]})


def cluster_strip(row: dict[str, Any]) -> Strip:
    """Return the member in the middle of a cluster, with the size and quality of that."""
    from tasks.stages.sheets import Strip

    told = f"{row['cluster_id']}: {row['size']:,} members"
    if row["quality"] is not None:
        told += f", quality {row['quality']:.2f}"
    return Strip((row["medoid_id"] or "",), tuple(map(shown, (told, str(row["medoid"])))))


def member_strip(row: dict[str, Any]) -> Strip:
    """Return a member of a cluster with its distance from the middle."""
    from tasks.stages.sheets import Strip

    lines = (f"distance {row['distance']:.4f}", str(row["uri"]))
    return Strip((row["item_id"],), tuple(map(shown, lines)))


def hit_strip(row: dict[str, Any]) -> Strip:
    """Return what a search has found, with its rank; words are no pictures."""
    from tasks.stages.sheets import Strip

    lines = (f"{row['rank']}: similarity {row['similarity']:.4f}", str(row.get("uri")))
    return Strip((row.get("item_id") or "",), tuple(map(shown, lines)))


def anomaly_strip(row: dict[str, Any]) -> Strip:
    """Return an odd item with its rank."""
    from tasks.stages.sheets import Strip

    lines = (f"{row['rank']}: percentile {row['percentile']:.2f}", str(row["uri"]))
    return Strip((row["item_id"],), tuple(map(shown, lines)))
