"""Reports to look at: the pictures that rows of a report are about, on one sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data.images import decode_image
from data.sheets import TILE, PictureStrip, sheet_of
from latentlake.errors import BadInputError, QueryError
from tasks.stages.contents import CONTENT_REFS, ContentReader, ContentRef, refs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from data.sheets import Pixels
    from latentlake.settings import Settings

MOST_STRIPS: Final = 60


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of a report.

    Attributes:
        items: the ids of its items, as many in each row of a sheet.
        lines: its caption, likewise.
    """

    items: tuple[str, ...]
    lines: tuple[str, ...]


def draw_strips(
    settings: Settings, connection: duckdb.DuckDBPyConnection, strips: Sequence[Strip], suffix: str
) -> tuple[bytes, int]:
    """Draw the first rows whose items are pictures, as they are in the sources now.

    Args:
        settings: where the sources are.
        connection: over the snapshot that the rows are from.
        strips: rows of a report, in order.
        suffix: of the file; see `data.sheets.FORMATS`.

    Returns:
        The file's bytes, and how many rows are on it: `MOST_STRIPS` at most. A picture that has
        changed or gone since is a grey square.

    Raises:
        QueryError: no row is about pictures alone.
    """
    refs = _photos(connection, [item for strip in strips for item in strip.items])
    shown = [strip for strip in strips if all(item in refs for item in strip.items)][:MOST_STRIPS]
    if not shown:
        raise QueryError(
            "--sheet: none of these rows is about pictures; sheets are of spaces of images."
        )
    wanted = {refs[item].content_id: refs[item] for strip in shown for item in strip.items}
    pictures = _pictures(settings, list(wanted.values()))
    drawn = [
        PictureStrip(tuple(pictures.get(refs[one].content_id) for one in strip.items), strip.lines)
        for strip in shown
    ]
    return sheet_of(drawn, suffix), len(drawn)


def _photos(connection: duckdb.DuckDBPyConnection, items: list[str]) -> dict[str, ContentRef]:
    """Return where the pictures among some items are."""
    columns = ", ".join(CONTENT_REFS.names)
    rows = connection.sql(
        f"SELECT item_id, {columns} FROM items "  # noqa: S608  names of ours
        "WHERE modality = 'image' AND item_id IN (SELECT unnest($1::VARCHAR[]))",
        params=[items],
    ).to_arrow_table()
    return dict(zip(rows["item_id"].to_pylist(), refs_of(rows), strict=True))


def _pictures(settings: Settings, refs: list[ContentRef]) -> dict[str, Pixels]:
    """Return what can be read, by content."""
    known = {source.name for source in settings.sources}
    ordered = sorted(
        (ref for ref in refs if ref.source in known),
        key=lambda ref: (ref.source, ref.file, ref.position or 0),
    )
    found: dict[str, Pixels] = {}
    for ref, load in ContentReader(settings).payloads(ordered):
        try:
            payload = load()
            if isinstance(payload, bytes):
                found[ref.content_id] = decode_image(payload, min_side=TILE)
        except BadInputError:
            continue
    return found
