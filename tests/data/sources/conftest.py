"""What the tests of sources share: write a file, open the place, read everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from data.sources import BadRecord, FileEntry, Record, Source, open_source
from latentlake.source_settings import SourceSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def opened(place: Path | str, kind: str = "text", **settings: Any) -> Source:
    uri = str(place)
    return open_source(SourceSettings(name="s", kind=kind, uri=uri, **settings), uri)


def read_all(place: Path | str, kind: str = "text", **settings: Any) -> list[Record | BadRecord]:
    """Read every file of a place; a file that cannot be listed stands as its `BadRecord`."""
    source = opened(place, kind, **settings)
    found: list[Record | BadRecord] = []
    for entry in source.list_files():
        if isinstance(entry, FileEntry):
            found.extend(source.read_file(entry.file))
        else:
            found.append(entry)
    return found


@pytest.fixture(name="open_place", scope="session")
def _open_place() -> Callable[..., Source]:
    return opened


@pytest.fixture(name="read", scope="session")
def _read() -> Callable[..., list[Record | BadRecord]]:
    return read_all
