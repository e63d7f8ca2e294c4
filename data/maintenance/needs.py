"""What a set of snapshots needs of a lake's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from data.commits import file_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data.lake import Lake, Snapshot


@dataclass(frozen=True, slots=True)
class Needs:
    """What must stay.

    Attributes:
        files: the Delta tables' files, by name under the root.
        folders: indexes and models, under the root.
    """

    files: frozenset[str]
    folders: frozenset[str]


def gather_needs(lake: Lake, kept: Sequence[Snapshot], young: float) -> Needs:
    """Return what kept snapshots, the tables' present state and commits since `young` need.

    A run at work reads tables as they are committed now, between two snapshots; so the last version
    stays, and files that a commit has touched since `young` (seconds since the epoch) stay, too.
    """
    files: set[str] = set()
    for folder in lake.table_folders():
        versions = {s.versions[folder] for s in kept if folder in s.versions}
        tables = [lake.delta(folder, version) for version in sorted(versions)]
        for table in (*tables, lake.delta(folder)):
            if table is not None:
                files.update(f"{folder}/{name}" for name in file_names(table))
        files.update(f"{folder}/{name}" for name in _lately_touched(lake, folder, young))
    folders: set[str] = set()
    for snapshot in (*kept, None):
        for row in lake.read("builds", snapshot=snapshot, columns=["details"]).to_pylist():
            folders.update(_folders_in(json.loads(row["details"] or "null")))
        for row in lake.read("spaces", snapshot=snapshot).to_pylist():
            if row["artefact"]:
                folders.add(row["artefact"])
    return Needs(frozenset(files), frozenset(folders))


def _lately_touched(lake: Lake, table: str, young: float) -> Iterator[str]:
    """Yield the files that commits since a time have put into a table or taken out of it."""
    for found in lake.store.files(f"{table}/_delta_log"):
        if not found.name.endswith(".json") or found.modified_ns <= young * 1e9:
            continue
        for line in lake.store.read(found.name).splitlines():
            action = json.loads(line)
            for kind in ("add", "remove"):
                if kind in action:
                    yield unquote(action[kind]["path"])


def _folders_in(details: Any) -> Iterator[str]:
    """Yield every folder of an index that the details of a build name, wherever they do."""
    match details:
        case str() if details.startswith("indexes/"):
            yield "/".join(details.split("/")[:4])
        case dict():
            for value in details.values():
                yield from _folders_in(value)
        case list():
            for value in details:
                yield from _folders_in(value)
