"""DuckDB in memory, used again: to start an instance takes 10 ms, and a run needs half a dozen."""

from __future__ import annotations

import atexit
import os
from contextlib import contextmanager
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
_idle: list[duckdb.DuckDBPyConnection] = []
_sandboxes: list[duckdb.DuckDBPyConnection] = []
_abandoned: list[duckdb.DuckDBPyConnection] = []


@contextmanager
def database(settings: Values | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to an empty database, which is gone with all that it holds at the end.

    So is what is temporary or registered: that belongs to the connection, which nobody has after
    this. Functions would stay.

    Args:
        settings: DuckDB's own, by name; those that are not named are as the last user left them.
    """
    instance = _configured(settings or {})
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
        _put_back(_idle, instance)


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
    instance = _taken(_sandboxes)
    if instance is None:
        instance = duckdb.connect()
        instance.execute("SET enable_external_access = false")
        instance.execute("SET lock_configuration = true")
    try:
        with instance.cursor() as connection:
            yield connection
    except BaseException:
        instance.close()
        raise
    _put_back(_sandboxes, instance)


def _use_own(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"ATTACH ':memory:' AS {NAME}")
    connection.execute(f"USE {NAME}")


def _configured(settings: Values) -> duckdb.DuckDBPyConnection:
    instance = _taken(_idle)
    if instance is not None:
        try:
            instance.execute("SET enable_external_file_cache = true")
            for name, value in settings.items():
                instance.execute(f"SET {name} = {_literal(value)}")
        except duckdb.Error:  # a folder that was spilled to cannot be changed
            instance.close()
        else:
            return instance
    return duckdb.connect(config=dict(settings))


def _held_bytes(instance: duckdb.DuckDBPyConnection) -> int:
    used = "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()"
    return int(instance.execute(used).fetchall()[0][0])


def _taken(idle: list[duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection | None:
    try:
        return idle.pop()
    except IndexError:
        return None


def _put_back(idle: list[duckdb.DuckDBPyConnection], instance: duckdb.DuckDBPyConnection) -> None:
    if len(idle) < _MOST_IDLE:
        idle.append(instance)
    else:
        instance.close()


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
    for instance in (*_idle, *_sandboxes):
        instance.close()
    _idle.clear()
    _sandboxes.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
atexit.register(_close_idle)
