"""The hostile sets, whole, through `latentlake run`: every file and every verdict is known.

Needs the large data sets. `docs/reference/hostile-input.md` has the differences that are held here.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from data.content import content_id
from data.lake import Lake
from data.sources import Record, open_source
from data.sources.names import file_name
from latentlake.source_settings import SourceSettings

pytestmark = [pytest.mark.datasets, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "hostile-input.md"
HANG_S = 900
MAX_PEAK_BYTES = 1_500_000_000
SETS = ("hostile_images", "hostile_text")
CONFIG = """
[[sources]]
name = "images"
kind = "images"
uri = "hostile_images/files"
[[sources]]
name = "texts"
kind = "text"
uri = "hostile_text"
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["images"]
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["texts"]
options = { dim = 16, epochs = 3 }
[run]
threads = 2
"""
# Prefect's server is a process of its own; wait4 tells of the command alone.
WATCHED = """
import os, sys
child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "latentlake.cli.main", "run"])
_, status, usage = os.wait4(child, 0)
print(f"\\nended {os.waitstatus_to_exitcode(status)} peak {usage.ru_maxrss * 1024}")
"""


@dataclass
class Ran:
    """The two sets after a run, and what it printed."""

    folder: Path
    printed: str

    def rows(self, table: str, source: str) -> list[dict[str, Any]]:
        rows = Lake(str(self.folder / "lake")).read(table).to_pylist()
        return [row for row in rows if row["source"] == source]


@pytest.fixture(scope="module")
def ran(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("sets")
    for name in SETS:
        with (
            (datasets / f"{name}_shared.tar.zst").open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            archive.extractall(folder, filter="fully_trusted")  # noqa: S202  ours, with links
    (folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Ran(folder, done.stdout + done.stderr)


def verdicts_of(ran: Ran) -> dict[str, str]:
    """What became of each file on disk: "decodes", "refused" or "passed over"."""
    items = {row["uri"] for row in ran.rows("items", "images")}
    refused = {row["uri"] for row in ran.rows("quarantine", "images")}
    base = ran.folder / "hostile_images" / "files"
    files = [
        file_name(os.path.relpath(os.path.join(place, name), base))  # noqa: PTH118  bytes survive
        for place, _, names in os.walk(base)
        for name in names
    ]
    assert items | refused <= set(files)
    return {
        file: "refused" if file in refused else "decodes" if file in items else "passed over"
        for file in files
    }


def test_the_run_ends_within_bounds(ran: Ran) -> None:
    ended = re.search(r"ended (\d+) peak (\d+)", ran.printed)
    assert ended is not None
    assert int(ended[1]) == 3  # inputs are in quarantine
    assert int(ended[2]) < MAX_PEAK_BYTES
    assert "Traceback" not in ran.printed


def test_every_verdict_is_pillow_s_or_explained(ran: Ran) -> None:
    found = verdicts_of(ran)
    expected = ran.folder / "hostile_images" / "expected_pillow.csv"
    with expected.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 350
    different = {
        file_name(row["file"])
        for row in rows
        if (row["verdict"] == "decodes") != (found[file_name(row["file"])] == "decodes")
    }
    explained = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert different == explained


def test_every_file_is_accounted_for(ran: Ran) -> None:
    verdicts = Counter(verdicts_of(ran).values())
    linked_folders = 1  # link_to_parent, which os.walk does not name among the files
    told = re.search(r"(\d+) other files? ignored", ran.printed)
    assert told is not None
    assert int(told[1]) == verdicts["passed over"] + linked_folders
    seen = {row["file"] for row in ran.rows("files", "texts")}
    base = ran.folder / "hostile_text"
    assert seen == {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}


def test_bombs_are_refused_by_their_header(ran: Ran) -> None:
    bad = {row["uri"]: row for row in ran.rows("quarantine", "images")}
    bomb = bad["made/bomb_1bit_20000x20000.png"]
    assert (bomb["stage"], "400000000 pixels" in bomb["message"]) == ("identify", True)


def test_malformed_lines_are_refused_one_by_one(ran: Ran) -> None:
    made = [row for row in ran.rows("quarantine", "texts") if row["uri"].startswith("made/")]
    refused = {row["uri"].removeprefix("made/") for row in made if row["space"] is None}
    assert refused == {
        *("bad_line.jsonl#2", "latin1.csv#2", "latin1.csv#3", "ragged.csv#2", "ragged.csv#3"),
        *("missing_field.jsonl#2", "missing_field.jsonl#3", "missing_field.jsonl#4"),
        *("empty_texts.csv#2", "empty_texts.csv#3"),
    }
    items = {row["uri"] for row in ran.rows("items", "texts")}
    assert {"made/bad_line.jsonl#1", "made/bad_line.jsonl#3", "made/ragged.csv#4"} <= items


def test_json_is_judged_as_its_test_suite_does(ran: Ran) -> None:
    refused = {
        row["uri"].partition("#")[0]
        for row in ran.rows("quarantine", "texts")
        if row["uri"].startswith("json_test_suite/") and row["message"].startswith("no JSON")
    }
    no_json = {name.removeprefix("json_test_suite/") for name in refused}
    assert not [name for name in no_json if name.startswith("y_")]
    suite = ran.folder / "hostile_text" / "json_test_suite"
    taken = {path.name for path in suite.glob("n_*")} - no_json
    undecodable = {name for name in taken if "utf8" in name.lower() or "utf-8" in name}
    # NaN counts as null, deep nesting and bytes that are no UTF-8 have messages of their own,
    # and a file of nothing has no items.
    assert taken - undecodable == {
        "n_number_NaN.json",
        "n_single_space.json",
        "n_structure_open_array_object.json",
    }
    texts = {row["uri"] for row in ran.rows("items", "texts")}
    assert not [uri for uri in texts if "/n_" in uri]


def test_naughty_strings_are_kept_as_they_are(ran: Ran) -> None:
    strings = json.loads((ran.folder / "hostile_text" / "blns.json").read_text("utf-8"))
    expected = {
        f"blns.json#{n}": content_id(text)
        for n, text in enumerate(strings, 1)
        if text and not text.isspace()
    }
    found = {
        row["uri"]: row["content_id"]
        for row in ran.rows("items", "texts")
        if row["uri"].startswith("blns.json#")
    }
    assert found == expected


def test_csv_is_read_as_its_test_suite_says(ran: Ran, tmp_path: Path) -> None:
    base = ran.folder / "hostile_text" / "csv_spectrum"
    for found_as in sorted((base / "csvs").glob("*.csv")):
        content = found_as.read_bytes()
        if found_as.stem.endswith("_crlf"):  # the set's copies have lost what they are about
            content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        path = tmp_path / found_as.name
        path.write_bytes(content)
        rows = json.loads((base / "json" / f"{path.stem}.json").read_text("utf-8"))
        text = next(name for name in rows[0] if all(row[name].strip() for row in rows))
        source = SourceSettings(name="s", kind="text", uri=str(path), text=text)
        records = list(open_source(source, str(path)).read_file(path.name))
        found = [r.metadata | {text: r.payload} for r in records if isinstance(r, Record)]
        assert found == rows, path.name
