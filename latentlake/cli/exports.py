"""`--export-keep` and `--export-remove`: lists of items for other programs."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from data.storage import replacing
from latentlake.cli.formats import plain_rows, write_csv, write_json, write_parquet
from latentlake.cli.terminal import json_text
from latentlake.errors import BadInputError, ConfigError
from tasks.stages.source_places import file_place

if TYPE_CHECKING:
    from pathlib import Path

    from latentlake.settings import Settings

TABLES: Final = (".csv", ".json", ".jsonl", ".parquet")
"""Suffixes of files that hold all columns; any other file holds paths, one a line."""


def export_items(settings: Settings, items: pa.Table, path: Path, *, null: bool) -> None:
    """Write a list of items, whole or not at all.

    Args:
        settings: where the sources are.
        items: with the columns source, file and key; all others go along.
        path: its suffix says what it holds, see `TABLES`.
        null: end each plain path with a NUL instead of a line break.

    Raises:
        ConfigError: plain paths are wanted of items that are inside of files, or a path holds a
            line break and `null` is false.
    """
    table = _with_places(settings, items)
    with replacing(path.absolute()) as temporary, temporary.open("wb") as stream:
        match path.suffix.lower():
            case ".csv":
                write_csv(table.to_reader(), stream)
            case ".json":
                write_json(table.to_reader(), (), stream)
            case ".jsonl":
                for row in plain_rows(table.to_reader()):
                    stream.write(f"{json_text(row)}\n".encode())
            case ".parquet":
                write_parquet(table.to_reader(), stream)
            case _:
                _write_paths(settings, items, stream, b"\0" if null else b"\n")


def _with_places(settings: Settings, items: pa.Table) -> pa.Table:
    """Add the column `path`, the place of each item's file."""
    places = [_place(settings, *row) for row in _files(items)]
    shown = [place.encode("utf-8", "replace").decode() for place in places]
    columns = [name for name in items.column_names if name not in ("file", "key", "position")]
    table = items.select(columns)
    return table.append_column("path", pa.array(shown, pa.string()))


def _write_paths(settings: Settings, items: pa.Table, stream: IO[bytes], end: bytes) -> None:
    inside = items.filter(pc.is_valid(items["key"]))
    if inside.num_rows:
        first = inside["uri"][0].as_py()
        raise ConfigError(
            f"{inside.num_rows:,} items are inside of files ({first} is the first): a list of "
            f"paths cannot name them; use a file that ends with {', '.join(TABLES)}."
        )
    for row in _files(items):
        raw = os.fsencode(_place(settings, *row))
        if end in raw:
            raise ConfigError(f"the path {raw!r} holds a line break: add --null.")
        stream.write(raw + end)


def _files(items: pa.Table) -> list[tuple[str, str]]:
    return list(zip(items["source"].to_pylist(), items["file"].to_pylist(), strict=True))


def _place(settings: Settings, source: str, file: str) -> str:
    try:
        return file_place(settings, source, file)
    except BadInputError as error:
        raise ConfigError(str(error)) from None
