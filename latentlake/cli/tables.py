"""Tables for the eye: as wide as the terminal there, as wide as they are in a pipe."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from math import isfinite
from typing import IO, TYPE_CHECKING, Any, Final

import click

from latentlake.cli.terminal import shown

if TYPE_CHECKING:
    import pyarrow as pa

TERMINAL_ROWS: Final = 200
"""More rows than this scroll away; a pipe gets all."""
LIST_VALUES: Final = 12
"""Longer lists of numbers are vectors: a table shows how they begin and how long they are."""
_LEAST_WIDTH: Final = 10
_GAP: Final = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column as text.

    Attributes:
        name: its heading.
        texts: one a row.
        is_number: whether it stands to the right.
    """

    name: str
    texts: list[str]
    is_number: bool = False

    @property
    def width(self) -> int:
        """Cells of a terminal that the widest text takes."""
        return max(cells(self.name), *map(cells, self.texts), 0)


def print_table(
    reader: pa.RecordBatchReader, names: tuple[str, ...] | None, note: str, stream: IO[bytes]
) -> None:
    """Print rows as a table; on a terminal it is cut to fit, elsewhere nothing is."""
    on_terminal = stream.isatty()
    table, more = _read(reader, TERMINAL_ROWS if on_terminal else None)
    if names is not None:
        table = table.select(list(names))
    columns = [
        text_column(name, column)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    if columns and (table.num_rows or not note):  # a heading over nothing tells less than the note
        width = shutil.get_terminal_size().columns if on_terminal else None
        stream.write(layout(columns, width, is_bold=on_terminal).encode())
    if more:
        stream.write(
            f"The first {table.num_rows} rows; --output FILE.csv writes all of them.\n".encode()
        )
    elif table.num_rows == 0 and not note:
        stream.write(b"(no rows)\n")
    if note:
        stream.write(f"{note}\n".encode())


def layout(columns: list[Column], width: int | None, *, is_bold: bool = False) -> str:
    """Lay columns out as lines of text; records under each other where they do not fit at all.

    Args:
        columns: all of equal length.
        width: cells to fit into, or None for no limit.
        is_bold: whether the heading is set in bold type.
    """
    columns = [
        Column(shown(column.name), [shown(text) for text in column.texts], column.is_number)
        for column in columns
    ]
    widths = _fitted([column.width for column in columns], width)
    if widths is None:
        return _records(columns, width or 0)
    head = _line([column.name for column in columns], columns, widths)
    lines = [click.style(head, bold=True) if is_bold else head]
    lines.append((" " * _GAP).join("-" * w for w in widths))
    rows = zip(*(column.texts for column in columns), strict=True)
    lines += [_line(row, columns, widths) for row in rows]
    return "\n".join(lines) + "\n"


def text_column(name: str, column: pa.ChunkedArray) -> Column:
    """Turn an Arrow column into text: floats of one column get equally many decimals."""
    import pyarrow as pa

    from latentlake.cli.formats import shortest_floats

    kind = column.type
    if pa.types.is_floating(kind):
        values = shortest_floats(column).to_pylist()
        return Column(name, _floats(values), is_number=True)
    is_number = pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    return Column(name, [cell_text(value) for value in column.to_pylist()], is_number)


def cell_text(value: Any) -> str:
    """Write one value on one line; control characters cannot reach the terminal."""
    from datetime import UTC, datetime

    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value).lower()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value.isoformat(" ", "seconds")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds") + "Z"
    if isinstance(value, list):
        return _list_text(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return shown(value if isinstance(value, str) else str(value))


def cells(text: str) -> int:
    """Count the cells of a terminal that a text takes: two for a wide character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def crop(text: str, width: int) -> str:
    """Cut a text to a width: prose at its end, a path or an id in its middle."""
    if cells(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    head = width - 1 if " " in text else (width - 1) // 3
    return _head(text, head) + "…" + _head(text[::-1], width - 1 - head)[::-1]


def _head(text: str, width: int) -> str:
    taken = 0
    for position, character in enumerate(text):
        taken += cells(character)
        if taken > width:
            return text[:position]
    return text


def _read(reader: pa.RecordBatchReader, limit: int | None) -> tuple[pa.Table, bool]:
    """Read the rows to show, and say whether there are more."""
    import pyarrow as pa

    if limit is None:
        return reader.read_all(), False
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows > limit:
            break
    return pa.Table.from_batches(batches, reader.schema).slice(0, limit), rows > limit


def _floats(values: list[float | None]) -> list[str]:
    present = [abs(value) for value in values if value is not None and isfinite(value)]
    small = [value for value in present if value]
    if small and (max(small) >= 1e9 or min(small) < 1e-4):  # noqa: PLR2004
        pattern = "{:.4g}"
    else:
        largest = max(present, default=0)
        pattern = "{:.4f}" if largest < 10 else "{:.2f}" if largest < 1000 else "{:.1f}"  # noqa: PLR2004
    return ["NULL" if value is None else pattern.format(value) for value in values]


def _list_text(values: list[Any]) -> str:
    texts = [cell_text(value) for value in values]
    if len(values) > LIST_VALUES and isinstance(values[0], float):
        return f"[{', '.join(texts[:3])}, … {len(values)} values]"
    return ", ".join(texts)


def _fitted(natural: list[int], width: int | None) -> list[int] | None:
    """Take width from the widest columns until all fit; None if they cannot."""
    widths = list(natural)
    if width is None:
        return widths
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= _LEAST_WIDTH:
            return None
        widths[widest] -= 1
        excess -= 1
    return widths


def _line(texts: Any, columns: list[Column], widths: list[int]) -> str:
    parts = []
    for text, column, width in zip(texts, columns, widths, strict=True):
        cut = crop(text, width)
        space = " " * (width - cells(cut))
        parts.append(space + cut if column.is_number else cut + space)
    return (" " * _GAP).join(parts).rstrip()


def _records(columns: list[Column], width: int) -> str:
    name_width = max(cells(column.name) for column in columns)
    rows = len(columns[0].texts)
    lines = []
    for row in range(rows):
        lines.append(f"-- {row + 1} ".ljust(min(width, 40), "-"))
        for column in columns:
            text = crop(column.texts[row], max(_LEAST_WIDTH, width - name_width - _GAP))
            lines.append(f"{column.name.ljust(name_width)}{' ' * _GAP}{text}")
    return "\n".join(lines) + ("\n" if lines else "")


def is_terminal() -> bool:
    """Say whether a person watches stderr, where progress is drawn."""
    return sys.stderr.isatty()
