"""Which snapshot a person means by a run, a time or a number."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from data.versions import require_version
from latentlake.errors import LakeNotFoundError, QueryError

if TYPE_CHECKING:
    from data.lake import Lake, Snapshot

_NUMBER: Final = re.compile(r"\d{1,12}")
_RUN: Final = re.compile(r"(\d{8}T\d{6})(\d{3})-[0-9a-f]{6}")
"""A run's id begins with its start in UTC, to the millisecond."""


def resolve_snapshot(lake: Lake, name: str) -> Snapshot:
    """Return the snapshot that a name means.

    Args:
        lake: whose.
        name: a snapshot's number; the id of a run, which means the state it left (a run without
            news: the state it found); or an ISO 8601 time, UTC if it names no zone, which means the
            last snapshot not after it.

    Raises:
        LakeNotFoundError: there is no snapshot at all.
        QueryError: the name is none of the three, or means a state that is not there.
        SchemaVersionError: the snapshot's tables have another layout than this code's.
    """
    snapshot = find_snapshot(lake, name)
    where = f"{lake.uri}, snapshot {snapshot.number}"
    require_version(where, snapshot.schema_version)
    return snapshot


def find_snapshot(lake: Lake, name: str) -> Snapshot:
    """Return the snapshot that a name means, whatever the layout of its tables."""
    numbers = lake.snapshots()
    if not numbers:
        raise LakeNotFoundError(lake.uri)
    if _NUMBER.fullmatch(name):
        if int(name) not in numbers:
            raise QueryError(f"no snapshot {name}. {_extent(lake, numbers)}")
        return lake.any_snapshot(int(name))
    # From the last to the first: the clock may have jumped back, the numbers have not.
    snapshots = [lake.any_snapshot(number) for number in reversed(numbers)]
    for snapshot in snapshots:
        if snapshot.run_id == name:
            return snapshot
    moment = _moment(lake, name)
    for snapshot in snapshots:
        if _time(snapshot.at) <= moment:
            return snapshot
    raise QueryError(f"no snapshot is as old as '{name}'. {_extent(lake, numbers)}")


def _moment(lake: Lake, name: str) -> datetime:
    """Read a time, or that of a run which left no snapshot of its own."""
    run = _RUN.fullmatch(name)
    if run is not None:
        known = lake.read("runs", where=pc.field("run_id") == name, columns=["run_id"])
        if known.num_rows:
            raise QueryError(
                f"the snapshot of run '{name}' is no longer kept: 'latentlake vacuum' removed it. "
                f"{_extent(lake, lake.snapshots())}"
            )
        return datetime.strptime(run[1] + run[2] + "+0000", "%Y%m%dT%H%M%S%f%z")
    try:
        return _time(name)
    except ValueError:
        raise QueryError(
            f"'{name}' is no snapshot's number, no run's id and no ISO 8601 time: "
            "'latentlake runs' lists the runs."
        ) from None


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _extent(lake: Lake, numbers: list[int]) -> str:
    first, last = lake.any_snapshot(numbers[0]), lake.any_snapshot(numbers[-1])
    return f"Kept: {first.number} of {first.at} to {last.number} of {last.at}."
