"""Which sources a folder seems to hold."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

from data.sources.formats import Container, format_of
from latentlake.cli.vector_proposals import VectorColumns, named_vectors, vectors_in
from latentlake.errors import ConfigError, nearest_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

LOOK_AT: Final = 20_000
"""Files that are looked at, at most; a proposal need not know all of them."""
_SAMPLE_ROWS: Final = 200
_LEAST_ROWS: Final = 3
_SPACES: Final = 4
"""A column whose strings have fewer spaces, in the mean, holds names, labels or keys."""
_TEXT_NAMES: Final = (
    *("text", "abstract", "content", "body", "document", "description", "review"),
    *("comment", "summary", "message", "caption"),
)
_TABLES: Final = (Container.PARQUET, Container.JSON_LINES, Container.CSV, Container.JSON)
_SKIPPED: Final = frozenset({"lake", "node_modules", "site-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A source that could be configured.

    Attributes:
        name: fit for a table.
        kind: "images", "text" or "vectors".
        uri: relative to the configuration where it is inside its folder.
        text: the column of the text, or None.
        key: the column that names an item, or None.
        vector: the column of the vector, or None.
        keys: the file of keys beside a .npy, or None.
        count: files that were seen; 0 where nobody counted.
    """

    name: str
    kind: str
    uri: str
    text: str | None = None
    key: str | None = None
    vector: str | None = None
    keys: str | None = None
    count: int = 0

    @property
    def description(self) -> str:
        """One line for the user."""
        seen = f", {self.count:,} files" if self.count else ""
        column = f", {self.kind} in '{self.text or self.vector}'"
        column = column if self.text or self.vector else ""
        key = f", named by '{self.key or self.keys}'" if self.key or self.keys else ""
        return f"source {self.name}: {self.kind} in {self.uri}{seen}{column}{key}"


def propose(folder: Path) -> list[Proposal]:
    """Look for images, texts and vectors in a folder; hidden folders and lakes are passed over."""
    seen = _Seen.look(folder)
    found = [
        Proposal(_name(place, "images"), "images", place, count=count)
        for place, count in _places(seen.images)
    ]
    for path in sorted(seen.tables)[:20]:
        proposal = _proposed_table(folder, path)
        if proposal is not None:
            found.append(proposal)
    if not any(proposal.kind == "text" for proposal in found):
        found += [
            Proposal(_name(place, "texts"), "text", place, count=count)
            for place, count in _places(seen.notes)
        ]
    return _with_own_names(found)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Files by what they may be: pictures and notes a top folder, tables and matrices by name."""

    images: Counter[str]
    notes: Counter[str]
    tables: list[Path]

    @classmethod
    def look(cls, folder: Path) -> _Seen:
        seen = cls(Counter(), Counter(), [])
        for path in islice(_files(folder), LOOK_AT):
            inside = path.relative_to(folder)
            top = inside.parts[0] if len(inside.parts) > 1 and _is_text(inside.parts[0]) else "."
            as_text = format_of(path.name, "text")
            is_table = as_text is not None and as_text.container in _TABLES
            if format_of(path.name, "images") is not None and path.suffix.lower() != ".parquet":
                seen.images[top] += 1
            elif is_table or format_of(path.name, "vectors") is not None:
                seen.tables.extend([path] if _is_text(str(inside)) else [])
            elif as_text is not None and path.suffix.lower() in (".txt", ".text"):
                seen.notes[top] += 1
        return seen


def _proposed_table(folder: Path, path: Path) -> Proposal | None:
    """Return a table as a source of text, or else of vectors, if it is obvious how."""
    uri = path.relative_to(folder).as_posix()
    text, key = columns_of(path) if format_of(path.name, "text") else (None, None)
    if text is not None:
        return Proposal(_name(uri, "texts"), "text", uri, text, key)
    vectors = vectors_in(path)
    return None if vectors is None else _vectors(uri, vectors)


def proposed_images(folder: Path, images: Path) -> Proposal:
    """Return the source that `--images` names."""
    return Proposal(_name(images.resolve().name, "images"), "images", _uri(folder, images))


def proposed_text(folder: Path, text: Path, column: str | None, key: str | None) -> Proposal:
    """Return the source that `--text` names; columns that are not given are guessed.

    Raises:
        ConfigError: the file has no such column; the nearest one is named.
    """
    table = sample_of(text) if text.is_file() else None
    if table is not None:
        for given in (column, key):
            if given is not None and given not in table.column_names:
                hint = nearest_hint(given, table.column_names)
                listed = ", ".join(table.column_names)
                raise ConfigError(f"{text} has no column '{given}'.{hint} Its columns: {listed}.")
        guessed = columns_of(text)
        column, key = column or guessed[0], key or guessed[1]
    return Proposal(_name(text.name, "texts"), "text", _uri(folder, text), column, key)


def proposed_vectors(folder: Path, path: Path, column: str | None, key: str | None) -> Proposal:
    """Return the source that `--vectors` names; columns that are not given are guessed.

    Raises:
        ConfigError: the file has no such column; the nearest one is named.
    """
    return _vectors(_uri(folder, path), named_vectors(path, column, key))


def _vectors(uri: str, columns: VectorColumns) -> Proposal:
    name = _name(uri, "vectors")
    return Proposal(
        name,
        "vectors",
        uri,
        key=columns.key,
        vector=columns.vector,
        keys=columns.keys,
    )


def columns_of(path: Path) -> tuple[str | None, str | None]:
    """Guess the columns of the text and of the key of a table; None where none is obvious."""
    table = sample_of(path)
    if table is None or table.num_rows == 0:
        return None, None
    lengths = _mean_lengths(table)
    named = (column for name in _TEXT_NAMES for column in lengths if column.lower() == name)
    long = (
        column
        for column in sorted(lengths, key=lengths.__getitem__, reverse=True)
        if table.num_rows >= _LEAST_ROWS and _is_prose(table, column)
    )
    text = next(named, None) or next(long, None)
    return text, next((c for c in table.column_names if c != text and _is_key(table, c)), None)


def sample_of(path: Path) -> pa.Table | None:
    """Read the first rows of a table, whatever its format; None if DuckDB cannot."""
    with duckdb.connect() as connection:
        try:
            suffixes = "".join(path.suffixes).lower()
            statement = "FROM read_csv($1, ignore_errors = true) LIMIT $2"
            if ".parquet" in suffixes:
                statement = "FROM read_parquet($1) LIMIT $2"
            elif ".json" in suffixes or ".ndjson" in suffixes:
                statement = "FROM read_json($1, ignore_errors = true) LIMIT $2"
            return connection.sql(statement, params=[str(path), _SAMPLE_ROWS]).to_arrow_table()
        except duckdb.Error:
            return None


def _is_text(name: str) -> bool:
    """Tell whether TOML can hold a name; the bytes of one on disk need not be UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED
        )
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _places(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return one source a top folder if there are few of them, else one for all."""
    if len(counts) > 3 or "." in counts:  # noqa: PLR2004
        return [(".", counts.total())]
    return sorted(counts.items())


def _mean_lengths(table: pa.Table) -> dict[str, float]:
    import pyarrow as pa
    import pyarrow.compute as pc

    return {
        name: pc.mean(pc.utf8_length(table[name])).as_py() or 0.0
        for name in table.column_names
        if pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type)
    }


def _is_prose(table: pa.Table, column: str) -> bool:
    import pyarrow.compute as pc

    return (pc.mean(pc.count_substring(table[column], " ")).as_py() or 0) >= _SPACES


def _is_key(table: pa.Table, column: str) -> bool:
    import pyarrow.compute as pc

    called = re.search(r"(^|_)(id|key|uuid|doi|isbn)$", column.lower()) is not None
    values = table[column]
    return called and values.null_count == 0 and pc.count_distinct(values).as_py() == len(values)


def _uri(folder: Path, place: Path) -> str:
    whole = place.resolve()
    base = folder.resolve()
    if not _is_text(str(place)):
        raise ConfigError(
            f"{str(place)!a}: TOML cannot write this name, whose bytes are no UTF-8. Rename it, "
            "or read the folder that it is in: the names of files inside a source may be any."
        )
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else whole.as_posix()


def _name(place: str, otherwise: str) -> str:
    """Make a name out of a file's or folder's: letters, digits, underscores."""
    stem = re.sub(r"[^a-z0-9]+", "_", place.rpartition("/")[2].partition(".")[0].lower())
    stem = stem.strip("_").lstrip("0123456789_")
    return stem[:40] or otherwise


def _with_own_names(found: list[Proposal]) -> list[Proposal]:
    from dataclasses import replace

    seen: Counter[str] = Counter()
    named = []
    for proposal in found:
        seen[proposal.name] += 1
        twice = seen[proposal.name] > 1
        named.append(
            replace(proposal, name=f"{proposal.name}_{seen[proposal.name]}") if twice else proposal
        )
    return named
