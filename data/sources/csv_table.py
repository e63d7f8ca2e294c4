"""CSV and TSV with a header, one bad record at a time.

Quoting is strict, as RFC 4180 has it, because a lenient reading of ``"He said "hi" to me",3`` is a
wrong text and an unclosed quote swallows the rest of the file. On an error only the line on which
the record began is given up, and reading starts again with the next line.
"""

from __future__ import annotations

import csv
from collections import deque
from typing import TYPE_CHECKING

from data.sources.columns import choose_column
from data.sources.formats import plain_suffix
from data.sources.limits import MAX_TEXT_CHARS
from data.sources.making import RecordMaker, SourceFile
from data.sources.text_lines import numbered_lines, refuse_marked
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.sources.records import BadRecord, Record

# One limit for the process is all that the csv module has; the default is 128 KiB.
csv.field_size_limit(MAX_TEXT_CHARS)

# Lines read again after errors: a file made of unclosed quotes must not take quadratic time.
_REREAD_CHARS = 4 * MAX_TEXT_CHARS


def read_csv(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield an item a record, called by the line on which it begins.

    Blank lines are none. The delimiter is a tab for .tsv; for .csv it is a comma, or the semicolon
    or tab that the header has instead of any comma.

    Raises:
        BadInputError: the header lacks a configured column, or has no obvious one for the text.
        OSError, EOFError, zlib.error: the file cannot be read, or its compression is damaged.
    """
    with source.open_text() as stream:
        lines = _Lines(numbered_lines(stream))
        delimiter = _delimiter(source.file, lines.peek())
        rows = _rows(lines, delimiter)
        header = next(rows, None)
        if header is None:
            return
        if isinstance(header[1], csv.Error):
            raise BadInputError(f"no header: {header[1]}")
        columns = _Columns(source, header[1])
        maker = RecordMaker(source, "line")
        for number, row in rows:
            if isinstance(row, csv.Error):
                yield maker.bad(number, row)
            else:
                yield columns.record(maker, number, row)


class _Columns:
    """The header, and where in a row the text and the key stand."""

    def __init__(self, source: SourceFile, header: list[str]) -> None:
        settings = source.settings
        refuse_marked("".join(header), settings.encoding)
        self._names = [name.strip() or f"column {at}" for at, name in enumerate(header, 1)]
        fitting = [name for name in self._names if settings.text or name != settings.key]
        text = choose_column("text", settings.text, self._names, fitting)
        self._text = self._names.index(text)
        self._key: int | None = None
        if settings.key is not None:
            key = choose_column("key", settings.key, self._names, self._names)
            self._key = self._names.index(key)

    def record(self, maker: RecordMaker, number: int, row: list[str]) -> Record | BadRecord:
        """Make the record of one row."""
        if len(row) != len(self._names):
            problem = f"{len(row)} fields where the header has {len(self._names)}"
            return maker.bad(number, BadInputError(problem))
        key = None if self._key is None else row[self._key]
        metadata = dict(zip(self._names, row, strict=True))
        del metadata[self._names[self._text]]
        return maker.text(number, row[self._text], key, metadata)


class _Lines:
    """Feeds lines to the csv module, remembers those of the current record, can give them back."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._again: deque[tuple[int, str]] = deque()
        self._taken: list[tuple[int, str]] = []
        self._reread = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        numbered = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(numbered)
        return numbered[1]

    def peek(self) -> str:
        """Return the first line that is not blank, which is then still to be read."""
        for number, line in self._lines:
            if not line.isspace():
                self._again.append((number, line))
                return line
        return ""

    def begin_record(self) -> None:
        """Forget the lines of the record before."""
        self._taken.clear()

    @property
    def first(self) -> tuple[int, str]:
        """The number and text of the line on which the record began."""
        return self._taken[0]

    def give_back_rest(self) -> None:
        """Have all but the first line of the record read again, within the budget."""
        rest = self._taken[1:]
        self._reread += sum(len(line) for _, line in rest)
        if self._reread <= _REREAD_CHARS:
            self._again.extendleft(reversed(rest))


def _rows(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number, line = lines.first
            lines.give_back_rest()
            # Most tab-separated files know no quotes: one that does not fit is a character.
            yield number, line.rstrip("\r\n").split(delimiter) if delimiter == "\t" else error
        else:
            if row:
                yield lines.first[0], row


def _delimiter(file: str, header: str) -> str:
    if plain_suffix(file) == ".tsv":
        return "\t"
    if "," not in header:
        return next((other for other in (";", "\t") if other in header), ",")
    return ","
