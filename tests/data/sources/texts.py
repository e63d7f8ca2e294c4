"""What the tests of text files share."""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING, Any

import zstandard

from data.sources import BadRecord, Record

if TYPE_CHECKING:
    from collections.abc import Callable

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda raw: raw,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def texts_of(records: list[Record | BadRecord]) -> list[bytes | str]:
    assert [record for record in records if isinstance(record, BadRecord)] == []
    return [record.payload for record in records if isinstance(record, Record)]


def good_and_bad(records: list[Record | BadRecord]) -> tuple[list[str | None], list[str | None]]:
    """Return the keys of the records, and those of the bad ones."""
    good = [record.key for record in records if isinstance(record, Record)]
    return good, [record.key for record in records if isinstance(record, BadRecord)]


def messages(records: list[Record | BadRecord]) -> list[str]:
    return [record.message for record in records if isinstance(record, BadRecord)]


def as_csv(rows: list[list[str]], **options: Any) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **options).writerows(rows)
    return buffer.getvalue().encode()
