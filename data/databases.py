"""DuckDB in memory, used again: to start an instance takes 10 ms, and a run needs half a dozen."""

from __future__ import annotations

import atexit
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Values = Mapping[str, str | int | bool]

NAME: Final = "own"
"""The database that a connection of `database` works in; a cursor of one has to `USE` it, too."""
_MOST_IDLE: Final = 2
_MOST_BYTES: Final = 4 * 2**20
"""An instance whose tables were larger is closed, as only then its allocator gives memory back."""


@dataclass(slots=True)
class _Instance:
    """DuckDB, and the settings that it was given last: one that it has is not set again.

    To set the memory limit alone takes 5 ms.
    """

    connection: duckdb.DuckDBPyConnection
    values: dict[str, str | int | bool] = field(default_factory=dict)


_idle: list[_Instance] = []
_sandboxes: list[_Instance] = []
_abandoned: list[_Instance] = []


@contextmanager
def database(settings: Values | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to an empty database, which is gone with all that it holds at the end.

    So is what is temporary or registered: that belongs to the connection, which nobody has after
    this. Functions would stay.

    Args:
        settings: DuckDB's own, by name; those that are not named are as the last user left them.
    """
    kept = _configured(settings or {})
    instance = kept.connection
    try:
        with instance.cursor() as connection:
            _use_own(connection)
            yield connection
        # What it holds of files it has read would count as memory of whoever comes next.
        instance.execute("SET enable_external_file_cache = false")
        held_much = _held_bytes(instance) > _MOST_BYTES
        instance.execute(f"DETACH {NAME}")
    except BaseException:
        instance.close()  # whatever state it is in
        raise
    if held_much:
        instance.close()
    else:
        _put_back(_idle, kept)


@contextmanager
def fresh_database(settings: Values) -> Iterator[duckdb.DuckDBPyConnection]:
    """Do what `database` does with an instance that nobody has after this, whatever is added."""
    with duckdb.connect(config=dict(settings)) as connection:
        _use_own(connection)
        yield connection


@contextmanager
def sandbox() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that reads what is registered with it, and neither files nor anything.

    It is for SQL that others have written. What is registered goes with the connection.
    """
    kept = _taken(_sandboxes)
    if kept is None:
        kept = _Instance(duckdb.connect())
        kept.connection.execute("SET enable_external_access = false")
        kept.connection.execute("SET lock_configuration = true")
    instance = kept.connection
    try:
        with instance.cursor() as connection:
            yield connection
    except BaseException:
        instance.close()
        raise
    _put_back(_sandboxes, kept)


def _use_own(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"ATTACH ':memory:' AS {NAME}")
    connection.execute(f"USE {NAME}")


def _configured(settings: Values) -> _Instance:
    kept = _taken(_idle)
    if kept is not None:
        try:
            kept.connection.execute("SET enable_external_file_cache = true")
            for name, value in settings.items():
                if kept.values.get(name) != value:
                    kept.connection.execute(f"SET {name} = {_literal(value)}")
                    kept.values[name] = value
        except duckdb.Error:  # a folder that was spilled to cannot be changed
            kept.connection.close()
        else:
            return kept
    return _Instance(duckdb.connect(config=dict(settings)), dict(settings))


def _held_bytes(instance: duckdb.DuckDBPyConnection) -> int:
    used = "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()"
    return int(instance.execute(used).fetchall()[0][0])


def _taken(idle: list[_Instance]) -> _Instance | None:
    try:
        return idle.pop()
    except IndexError:
        return None


def _put_back(idle: list[_Instance], kept: _Instance) -> None:
    if len(idle) < _MOST_IDLE:
        idle.append(kept)
    else:
        kept.connection.close()


def _literal(value: str | int | bool) -> str:  # noqa: FBT001  a value of any setting
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()


def _leave_to_parent() -> None:
    """Pass over the parent's instances in a forked child: their threads are not there.

    They stay referred to, since to close one is to wait for its threads.
    """
    _abandoned.extend((*_idle, *_sandboxes))
    _idle.clear()
    _sandboxes.clear()


def _close_idle() -> None:
    """Close what is kept while Python still runs: later, DuckDB would report it as leaked."""
    for kept in (*_idle, *_sandboxes):
        kept.connection.close()
    _idle.clear()
    _sandboxes.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
atexit.register(_close_idle)
