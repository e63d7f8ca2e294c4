"""Hostile inputs through the stages: each gets its verdict, and its name survives everything."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from data.lake import Lake
from data.sources.names import path_of
from latentlake.cli.main import cli
from tests.hostile.made import ITEM, Made, make_images, make_shards, make_texts
from tests.hostile.made_vectors import make_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
HANG_S = 300
MAX_PEAK_BYTES = 1_500_000_000
CONFIG = """
[[sources]]
name = "images"
kind = "images"
uri = "images"
[[sources]]
name = "shards"
kind = "images"
uri = "shards"
[[sources]]
name = "texts"
kind = "text"
uri = "texts"
[[sources]]
name = "vectors"
kind = "vectors"
uri = "vectors"
[[spaces]]
name = "own"
encoder = "vectors"
sources = ["vectors"]
options = { dim = 3 }
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["images", "shards"]
neighbours = 3
[run]
threads = 2
"""


@dataclass
class Hostile:
    """A project of hostile inputs after all stages, and what the process said at its end."""

    folder: Path
    sources: dict[str, Made]
    told: dict[str, Any]

    def rows(self, table: str, source: str) -> list[dict[str, Any]]:
        rows = Lake(str(self.folder / "lake")).read(table).to_pylist()
        return [row for row in rows if row["source"] == source]

    def call(self, *arguments: str) -> Result:
        config = str(self.folder / "latentlake.toml")
        return CliRunner().invoke(cli, [*arguments, "--config", config], catch_exceptions=False)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    sources = {
        "images": make_images(folder / "images"),
        "shards": make_shards(folder / "shards"),
        "texts": make_texts(folder / "texts"),
        "vectors": make_vectors(folder / "vectors"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.reads", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield Hostile(folder, sources, json.loads(done.stdout.splitlines()[-1]))
    for made in sources.values():  # the big ones need not wait for pytest's clean-up
        for path in made.base.glob("*.md"):
            path.unlink()


@pytest.mark.parametrize("source", ["images", "shards", "texts", "vectors"])
def test_every_input_has_its_verdict(hostile: Hostile, source: str) -> None:
    expected = hostile.sources[source].verdicts
    bad = {row["uri"]: row for row in hostile.rows("quarantine", source)}
    items = {row["uri"] for row in hostile.rows("items", source)}
    items -= {row["uri"] for row in bad.values() if row["stage"] == "encode"}
    assert items | bad.keys() == expected.keys()
    wrong = {}
    for uri, verdict in expected.items():
        stage, _, part = verdict.partition(": ")
        found = f"{bad[uri]['stage']}: {bad[uri]['message']}" if uri in bad else ITEM
        is_right = found.startswith(stage) and part in found if verdict else found == ITEM
        if not is_right:
            wrong[uri] = (verdict, found)
    assert wrong == {}


def test_nothing_is_lost_silently(hostile: Hostile) -> None:
    assert hostile.told["errors"] == []
    kinds = "1 (no extension), 1 (hidden), 1 (linked folder), 1 .txt"
    count = hostile.sources["images"].passed_over
    assert hostile.told["notes"]["images"] == [f"{count} other files ignored: {kinds}"]
    seen = {row["file"] for row in hostile.rows("files", "texts")}
    assert seen == {path.name for path in hostile.sources["texts"].base.iterdir()}


def test_memory_stays_within_bounds(hostile: Hostile) -> None:
    assert hostile.told["peak"] < MAX_PEAK_BYTES


def test_names_lead_back_to_their_files(hostile: Hostile) -> None:
    made = hostile.sources["images"]
    for row in hostile.rows("items", "images"):
        assert path_of(made.base, row["uri"]).is_file()


def is_command(character: str) -> bool:
    return character != "\n" and (
        unicodedata.category(character) == "Cc"
        or unicodedata.bidirectional(character) in {"LRO", "RLO", "LRE", "RLE", "PDF"}
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "--format", "json"],
        ["runs"],
        ["sql", "SELECT uri FROM items ORDER BY uri"],
        ["sql", "FROM items", "--format", "json"],
        ["sql", "FROM quarantine"],
        ["duplicates"],
        ["clusters", "--space", "cnn"],
        ["anomalies", "-n", "200"],
        ["search", "--item", "escape\x1b[31m\x07\x7f.jpg", "-k", "50"],
        ["search", "--item", "no\x1b[31msuch\u202e.jpg"],
        ["sql", "SELECT '\x1b[31m' AS \"\x1b]0;title\x07\""],
        ["sql", "SELECT nothing\x1b[31m FROM items"],
    ],
)
def test_no_command_to_the_terminal_is_printed(hostile: Hostile, arguments: list[str]) -> None:
    done = hostile.call(*arguments)
    assert [hex(ord(c)) for c in done.stdout + done.stderr if is_command(c)] == []
    assert done.stdout or done.exit_code == 1


def test_json_and_csv_are_faithful(hostile: Hostile) -> None:
    expected = sorted(row["uri"] for row in hostile.rows("items", "images"))
    query = "SELECT uri FROM items WHERE source = 'images'"
    as_json = json.loads(hostile.call("sql", query, "--format", "json").stdout)
    assert sorted(row["uri"] for row in as_json) == expected
    as_csv = hostile.call("sql", query, "--format", "csv").stdout_bytes.decode()
    rows = list(csv.reader(io.StringIO(as_csv, newline="")))
    assert sorted(row[0] for row in rows[1:]) == expected


def test_names_are_values_in_sql(hostile: Hostile) -> None:
    name = "'); DROP TABLE items; --.jpg"
    done = hostile.call("search", "--item", name, "-k", "3", "--format", "json")
    assert len(json.loads(done.stdout)) == 3
    quoted = name.replace("'", "''")
    done = hostile.call("search", "--item", name, "--where", f"uri = '{quoted}'")
    assert done.exit_code == 0, done.stderr
