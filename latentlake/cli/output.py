"""Results on their way out: as a table, JSON, CSV or Parquet; to the terminal, a pipe or a file."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

FORMATS: Final = ("table", "json", "csv", "parquet")


@dataclass(frozen=True)
class Result:
    """Rows for a user, streamed.

    Attributes:
        reader: the rows in batches.
        json_columns: string columns that hold JSON; as JSON they come out nested.
        shown: the columns that the table format shows; None for all. Other formats have all.
        note: a sentence under the table, where there is one to say.
    """

    reader: pa.RecordBatchReader
    json_columns: frozenset[str] = field(default_factory=frozenset)
    shown: tuple[str, ...] | None = None
    note: str = ""

    @classmethod
    def of(cls, table: pa.Table, **rest: Any) -> Result:
        """Wrap a table that is in memory."""
        return cls(table.to_reader(), **rest)


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go and in which form."""

    format_name: str = "table"
    path: Path | None = None

    @classmethod
    def of(cls, format_name: str | None, path: Path | None) -> Output:
        """Combine the options; a file's suffix stands in for a missing format.

        Raises:
            click.UsageError: Parquet would go to a terminal.
        """
        if format_name is None:
            suffix = path.suffix.lstrip(".").lower() if path else ""
            format_name = suffix if suffix in FORMATS else "table"
        if format_name == "parquet" and path is None and sys.stdout.isatty():
            raise click.UsageError("Parquet is not for a terminal: name a file with --output.")
        return cls(format_name, path)

    def write(self, result: Result) -> None:
        """Write a result; a file is written whole or not at all."""
        from latentlake.cli.formats import write_csv, write_json, write_parquet
        from latentlake.cli.tables import print_table

        with self._opened() as stream:
            match self.format_name:
                case "json":
                    write_json(result.reader, result.json_columns, stream)
                case "csv":
                    write_csv(result.reader, stream)
                case "parquet":
                    write_parquet(result.reader, stream)
                case _:
                    print_table(result.reader, result.shown, result.note, stream)
            stream.flush()

    def write_text(self, text: str) -> None:
        """Write a text that has its final form."""
        with self._opened() as stream:
            stream.write(text.encode())
            stream.flush()

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.path is None:
            yield sys.stdout.buffer
        elif self.path.exists() and not self.path.is_file():
            with self.path.open("wb") as stream:  # a device or a named pipe keeps its name
                yield stream
        else:
            from data.storage import replacing

            with replacing(self.path.absolute()) as temporary, temporary.open("wb") as stream:
                yield stream
