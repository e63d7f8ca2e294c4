"""DuckDB instances that are used again: nothing of one user is there for the next."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from data import databases
from data.databases import NAME, database, sandbox

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_of_the_last_user_is_left() -> None:
    with database({"threads": 1}) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS one")
        connection.execute("CREATE VIEW seen AS FROM mine")
        connection.execute("CREATE TEMP TABLE passing AS SELECT 1 AS one")
        connection.register("given", pa.table({"a": [1]}))
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        with connection.cursor() as cursor:
            cursor.execute(f"USE {NAME}")
            assert cursor.execute("FROM seen").fetchall() == [(1,)]
    with database({"threads": 2}) as connection:
        assert connection.execute("SELECT current_setting('threads')").fetchall() == [(2,)]
        assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
        own = "SELECT count(*) FROM duckdb_views() WHERE NOT internal"
        assert connection.execute(own).fetchall() == [(0,)]
        for gone in ("passing", "given"):
            with pytest.raises(duckdb.CatalogException):
                connection.execute(f"FROM {gone}")


@pytest.mark.parametrize(("rows", "is_kept"), [(10, True), (1_000_000, False)])
def test_an_instance_that_held_much_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, rows: int, is_kept: bool
) -> None:
    monkeypatch.setattr(databases, "_idle", [])  # others may have left some
    with database({"default_null_order": "nulls_first"}) as connection:
        connection.execute(f"CREATE TABLE mine AS SELECT hash(i) FROM range({rows}) t(i)")
    with database() as connection:
        found = connection.execute("SELECT current_setting('default_null_order')").fetchall()
    assert (found[0][0].lower() == "nulls_first") is is_kept


def test_each_user_has_its_own_settings_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_idle", [])
    for limit in ("200.0 MiB", "200.0 MiB", "300.0 MiB", "200.0 MiB"):
        with database({"memory_limit": limit}) as connection:
            found = connection.execute("SELECT current_setting('memory_limit')").fetchall()
        assert found == [(limit,)]


def test_two_users_at_once_have_one_each() -> None:
    with database() as one, database() as other:
        one.execute("CREATE TABLE mine AS SELECT 1 AS one")
        with pytest.raises(duckdb.CatalogException):
            other.execute("FROM mine")


def test_a_folder_that_was_spilled_to_is_not_the_next_users(tmp_path: Path) -> None:
    for name in ("first", "second"):
        folder = tmp_path / name
        settings: dict[str, str | int] = {
            "memory_limit": "40MB",
            "temp_directory": str(folder),
            "threads": 1,
        }
        with database(settings) as connection:
            connection.execute(
                "CREATE TABLE large AS SELECT hash(i) AS h, repeat('x', 100) AS s "
                "FROM range(500000) t(i) ORDER BY h"
            )
            assert connection.execute("SELECT count(*) FROM large").fetchall() == [(500_000,)]
            assert any(folder.iterdir())


def test_a_sandbox_reads_what_is_registered_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    for value in (1, 2):
        with sandbox() as connection:
            connection.register("items", pa.table({"a": [value]}))
            assert connection.execute("SELECT a FROM items").fetchall() == [(value,)]
        with pytest.raises(duckdb.PermissionException), sandbox() as connection:
            connection.execute(f"FROM read_csv('{path}')")


def test_a_forked_child_begins_with_an_instance_of_its_own() -> None:
    with database() as connection:
        connection.execute("CREATE TABLE mine AS FROM range(10)")
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            with database({"threads": 2}) as connection:
                found = connection.execute("SELECT sum(range) FROM range(100000)").fetchall()
            os._exit(0 if found == [(4_999_950_000,)] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_process_ends_without_a_word_about_what_it_kept() -> None:
    """DuckDB reports what outlives it, as what another library's threads refer to does."""
    script = (
        "import threading, time\n"
        "from data import databases\n"
        "for kept in (databases.database, databases.sandbox):\n"
        "    with kept() as connection:\n"
        "        connection.execute('SELECT 1')\n"
        "del connection\n"
        "def hold(module):\n"
        "    time.sleep(60)\n"
        "threading.Thread(target=hold, args=(databases._idle,), daemon=True).start()\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
