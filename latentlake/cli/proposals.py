"""Which sources a folder seems to hold, and the configuration that says so."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb

from data.sources.formats import Container, format_of
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
        kind: "images" or "text".
        uri: relative to the configuration where it is inside its folder.
        text: the column of the text, or None.
        key: the column that names an item, or None.
        count: files that were seen; 0 where nobody counted.
    """

    name: str
    kind: str
    uri: str
    text: str | None = None
    key: str | None = None
    count: int = 0

    @property
    def description(self) -> str:
        """One line for the user."""
        seen = f", {self.count:,} files" if self.count else ""
        column = f", text in '{self.text}'" if self.text else ""
        key = f", named by '{self.key}'" if self.key else ""
        return f"source {self.name}: {self.kind} in {self.uri}{seen}{column}{key}"


def propose(folder: Path) -> list[Proposal]:
    """Look for images and texts in a folder; hidden folders and lakes are passed over."""
    images: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    tables: list[Path] = []
    for path in islice(_files(folder), LOOK_AT):
        inside = path.relative_to(folder)
        top = inside.parts[0] if len(inside.parts) > 1 and _is_text(inside.parts[0]) else "."
        as_text = format_of(path.name, "text")
        if format_of(path.name, "images") is not None and path.suffix.lower() != ".parquet":
            images[top] += 1
        elif as_text is not None and as_text.container in _TABLES and _is_text(str(inside)):
            tables.append(path)
        elif as_text is not None and path.suffix.lower() in (".txt", ".text"):
            notes[top] += 1
    found = [
        Proposal(_name(place, "images"), "images", place, count=count)
        for place, count in _places(images)
    ]
    for path in sorted(tables)[:20]:
        text, key = columns_of(path)
        if text is not None:
            uri = path.relative_to(folder).as_posix()
            found.append(Proposal(_name(uri, "texts"), "text", uri, text, key))
    if not any(proposal.kind == "text" for proposal in found):
        found += [
            Proposal(_name(place, "texts"), "text", place, count=count)
            for place, count in _places(notes)
        ]
    return _with_own_names(found)


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


def config_text(sources: list[Proposal]) -> str:
    """Write latentlake.toml for these sources, every key explained."""
    parts = [_HEAD]
    parts += [_source_text(source) for source in sources] or [_NO_SOURCE]
    for kind, name, encoder in (
        ("images", "cnn", "efficientnet-lite0"),
        ("text", "words", "word2vec"),
    ):
        names = [source.name for source in sources if source.kind == kind]
        if names:
            parts.append(
                f'[[spaces]]\nname = "{name}"{" " * (14 - len(name))}# its vectors: the view '
                f'embeddings_{name}\nencoder = "{encoder}"\nsources = {json.dumps(names)}\n'
                + (_SPACE_HINTS if kind == "images" or len(parts) == len(sources) + 1 else "")
            )
    return "\n".join([*parts, _RUN])


_HEAD = """\
# What latentlake reads, and which vectors it makes. Paths are relative to this file's folder.
# Every key may also come from the environment: LATENTLAKE_LAKE__ROOT, LATENTLAKE_RUN__DEVICE, ...

[lake]
root = "lake"                # tables, vectors and indexes; 'run' rebuilds it, encoding all again
"""

_NO_SOURCE = """\
# [[sources]]
# name = "photos"            # letters, digits and underscores: it becomes a value in SQL
# kind = "images"            # images | text
# uri = "photos"             # a folder (any nesting), a glob, or a tar, Parquet, CSV, JSONL or txt
#
# [[spaces]]
# name = "cnn"
# encoder = "efficientnet-lite0"
# sources = ["photos"]
"""

_SPACE_HINTS = """\
# neighbours = 15            # of each content in the neighbour graph
# clusters = "auto"          # or a number
# target_recall = 0.95       # recall@10 that the search index is tuned for
# duplicates = { threshold = 0.95 }   # least cosine of near-duplicates; default .9, texts .98
"""

_RUN = """\
# [run]
# device = "auto"            # auto | cpu | cuda
# threads = "auto"           # for everything together
"""


def _source_text(source: Proposal) -> str:
    lines = ["[[sources]]", f'name = "{source.name}"', f'kind = "{source.kind}"']
    lines.append(f"uri = {_quoted(source.uri)}")
    if source.kind == "text":
        if source.text:
            lines.append(f"text = {_quoted(source.text)}")
        if source.key:
            lines.append(f"key = {_quoted(source.key)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Write a TOML string, which is one of JSON but for the character U+007F."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


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
