"""What does a change of a big table cost, by Delta merge and by copy on write?

Makes tables of `items` of 100,000 and 1,000,000 rows and commits to copies of them, each in a
process of its own: 10,000 new rows, 1,000 and 100,000 changed ones. Prints seconds, and the most
resident memory above that before the change.

    .venv/bin/python benchmarks/bench_changes.py
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.changes import TableChange, change_table
from data.content import content_id
from data.lake import Lake, table_of
from data.workspace import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (100_000, 1_000_000)
CHANGES = (("new", 10_000), ("changed", 1_000), ("changed", 100_000))
PART = 100_000


def rows(start: int, stop: int, size_bytes: int = 0) -> pa.Table:
    """Make items of short texts."""

    def made() -> Iterator[dict[str, Any]]:
        for number in range(start, stop):
            yield {
                "item_id": content_id(str(number)),
                "source": "texts",
                "uri": f"texts#{number}",
                "file": "texts",
                "key": str(number),
                "position": number,
                "content_id": content_id(f"text {number}"),
                "size_bytes": size_bytes,
                "excerpt": f"the words of text {number}",
                "deleted": False,
            }

    return table_of("items", made())


def write_copy(root: Path, found: pa.Table, kind: str) -> None:
    """Commit rows by copy on write."""
    lake = Lake(str(root / "lake"))
    with workspace(lake, "change", 125_000_000, 1) as work:
        work.view_table(lake, "items")
        pq.write_table(found, work.folder / "found.parquet")
        work.execute(f"CREATE VIEW found AS FROM read_parquet('{work.folder}/found.parquet')")
        query = "FROM found"
        change = TableChange(added=query) if kind == "new" else TableChange(changed=query)
        change_table(lake, "items", work, change, "run")


def commit(root: Path, way: str, kind: str, count: int, size: int) -> None:
    """Commit once and print what it cost."""
    start = size if kind == "new" else 0
    found = rows(start, start + count, 1)
    before, began = _peak_mb(), time.perf_counter()
    if way == "merge":
        Lake(str(root / "lake")).upsert("items", found, "run")
    else:
        write_copy(root, found, kind)
    print(f"{time.perf_counter() - began:.2f} s, {_peak_mb() - before} MB")


def _peak_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


def main() -> None:
    """Measure all changes at all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commit", nargs=5, help="what a process of its own is told to do")
    if told := parser.parse_args().commit:
        commit(Path(told[0]), told[1], told[2], int(told[3]), int(told[4]))
        return
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            made, copy = Path(folder, "made"), Path(folder, "copy")
            for start in range(0, size, PART):
                write_copy(made, rows(start, start + PART), "new")
            for kind, count in CHANGES:
                for way in ("merge", "copy on write"):
                    shutil.copytree(made, copy)
                    told = [str(copy), way, kind, str(count), str(size)]
                    command = [sys.executable, __file__, "--commit", *told]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
                    print(f"{size:9} {kind:8} {count:7} {way:14} {done.stdout.strip()}", flush=True)
                    shutil.rmtree(copy)


if __name__ == "__main__":
    main()
