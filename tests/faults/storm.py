"""Hundreds of kills: `python -m tests.faults.storm --kills 200 --seed 1`.

On S3 by `--store s3`, over photos that are compared by their pixels by `--photos`.

Each trial takes a fresh project (or a built one whose sources have changed), kills some runs one
after the other (half of them at a commit point, half at a random moment), lets the last one end,
and compares the whole lake with that of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.stores import open_store
from data.stores.connection import connect
from latentlake.settings import RunSettings
from tests.faults.conftest import Uninterrupted
from tests.faults.forks import Attempt, Forks
from tests.faults.lakes import (
    ROOT,
    TEXTS,
    check_snapshot,
    check_tables_are_sound,
    orphans,
    state_of,
)
from tests.faults.photo_lakes import ALBUM
from tests.s3.server import environment, running_s3
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES = ("deltalake", "pyarrow", "duckdb", "faiss-cpu", "gensim", "numpy")


@dataclass
class Tally:
    """What the trials came to.

    Attributes:
        kills: by the last commit point that the killed process had reached.
        trials: lakes that were killed at least once and compared.
        identical: lakes equal to that of the uninterrupted run.
        lost: rows and vectors that were missing.
        duplicated: rows and vectors that were there in addition.
        corrupt: snapshots, tables and indexes that could not be read whole.
        orphans: files that nothing names.
        unended: runs that failed without having been killed.
    """

    kills: Counter[str] = field(default_factory=Counter)
    trials: int = 0
    identical: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupt: int = 0
    orphans: int = 0
    unended: int = 0

    @property
    def is_clean(self) -> bool:
        bad = self.lost + self.duplicated + self.corrupt + self.orphans + self.unended
        return bad == 0 and self.identical == self.trials


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("folder", "s3"), default="folder")
    parser.add_argument("--photos", action="store_true", help="photos in place of texts")
    parser.add_argument("--in-a-row", type=int, default=3, help="kills in one trial, at most")
    parser.add_argument("--output", type=Path, help="write the result as JSON")
    chosen = parser.parse_args()
    tally, began = Tally(), time.monotonic()
    facts = machine()  # before the first kill: the commit that is loaded, not one made meanwhile
    folder = Path(tempfile.mkdtemp(prefix="latentlake-storm-"))
    try:
        with lakes_in(chosen.store, folder) as lakes, Forks() as forks:
            for _ in storm(folder, lakes, forks, tally, chosen):
                if chosen.output:
                    chosen.output.write_text(as_json(tally, chosen, began, facts), "utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table_of_kills(tally))
    return 0 if tally.is_clean else 1


def as_json(tally: Tally, chosen: argparse.Namespace, began: float, facts: dict[str, Any]) -> str:
    result = (
        vars(tally)
        | {
            "kills": dict(tally.kills),  # asdict would turn a Counter inside out
            "command": " ".join(["python -m tests.faults.storm", *sys.argv[1:]]),
            "store": chosen.store,
            "sources": "photos" if chosen.photos else "texts",
            "kills_in_all": tally.kills.total(),
            "seconds": round(time.monotonic() - began, 1),
            "machine": facts,
        }
    )
    return json.dumps(result, indent=1, sort_keys=True) + "\n"


class Lakes:
    """Where the lakes of all projects are: in their folders."""

    root = "lake"

    def put_away(self, name: str) -> None:
        """Nothing: it stays in its folder."""

    def bring_back(self, name: str) -> None:
        """Nothing: it came with a copy of its folder."""

    def remove(self) -> None:
        """Nothing: it goes with its folder."""


class LakesOnS3(Lakes):
    """All in one place, as the configuration's digest is in a lake's rows; kept under others."""

    root = "s3://storm/lake"

    def __init__(self) -> None:
        connect().client.create_bucket(Bucket="storm")

    def put_away(self, name: str) -> None:
        self._copy("lake", name)
        self.remove()

    def bring_back(self, name: str) -> None:
        self._copy(name, "lake")

    def remove(self) -> None:
        open_store(self.root).delete_folder("")

    def _copy(self, name: str, to: str) -> None:
        for found in open_store(f"s3://storm/{name}").files(""):
            source = {"Bucket": "storm", "Key": f"{name}/{found.name}"}
            connect().client.copy_object(
                Bucket="storm", Key=f"{to}/{found.name}", CopySource=source
            )


@contextmanager
def lakes_in(store: str, folder: Path) -> Iterator[Lakes]:
    if store == "folder":
        yield Lakes()
        return
    with running_s3() as port:
        os.environ.update(environment(port, folder))
        yield LakesOnS3()


def storm(
    folder: Path, lakes: Lakes, forks: Forks, tally: Tally, chosen: argparse.Namespace
) -> Iterator[None]:
    """Kill and compare; after each trial the tally is whole."""
    chance = random.Random(chosen.seed)
    sources = ALBUM if chosen.photos else TEXTS
    expected = Uninterrupted(folder / "expected", forks, lakes.root, sources)
    lakes.put_away("expected")
    built = folder / "built"
    sources.make(built, lakes.root)
    forks.run(Attempt(str(built)))
    lakes.put_away("built")
    while tally.kills.total() < chosen.kills:
        place = folder / "trial"
        over_a_lake = chance.random() < 0.5
        if over_a_lake:
            shutil.copytree(built, place)
            lakes.bring_back("built")
            project = Project(place)
            sources.change(project)
            usual, state = expected.second, expected.changed
        else:
            project = sources.make(place, lakes.root)
            usual, state = expected.first, expected.built
        killed = [
            kill_once(place, forks, tally, usual.points, usual.seconds, chance)
            for _ in range(chance.randint(1, chosen.in_a_row))
        ]
        end(place, forks, tally)
        if any(killed):
            tally.trials += 1
            compare(project, state, tally)
        shutil.rmtree(place)
        lakes.remove()
        yield
        print(f"\r{tally.kills.total()} kills", end="", file=sys.stderr, flush=True)


def end(place: Path, forks: Forks, tally: Tally) -> None:
    """Run, and let it end."""
    last = forks.run(Attempt(str(place)))
    tally.unended += last.codes != (0,)
    if last.errors:
        print(last.errors, file=sys.stderr)


def kill_once(
    place: Path,
    forks: Forks,
    tally: Tally,
    points: tuple[str, ...],
    seconds: float,
    chance: random.Random,
) -> bool:
    if chance.random() < 0.5:
        index = chance.randrange(len(points))
        attempt = Attempt(str(place), points[index], points[: index + 1].count(points[index]))
    else:
        attempt = Attempt(str(place), after_s=chance.uniform(0, seconds))
    ended = forks.run(attempt)
    if ended.was_killed:
        tally.kills[ended.points[-1] if ended.points else "(before all)"] += 1
    elif ended.codes != (0,):
        tally.unended += 1
        print(ended.errors, file=sys.stderr)
    return ended.was_killed


def compare(project: Project, expected: dict[str, Any], tally: Tally) -> None:
    found = state_of(project.lake)
    tally.identical += found == expected
    for name in expected.keys() | found.keys():
        if found.get(name) != expected.get(name):
            print(f"{name}: {found.get(name)} instead of {expected.get(name)}", file=sys.stderr)
    for name in expected.keys() | found.keys():
        wanted, there = rows_of(expected.get(name, [])), rows_of(found.get(name, []))
        tally.lost += (wanted - there).total()
        tally.duplicated += (there - wanted).total()
    tally.orphans += len(orphans(project.lake))
    checks: list[tuple[Any, ...]] = [(check_snapshot, n) for n in project.lake.snapshots()]
    for check, *arguments in [*checks, (check_tables_are_sound,)]:
        try:
            check(project.lake, *arguments)
        except Exception as error:  # noqa: BLE001  counted, and told
            tally.corrupt += 1
            print(f"corrupt: {error!r}", file=sys.stderr)


def rows_of(part: Any) -> Counter[str]:
    if isinstance(part, dict):
        return Counter(f"{name} {row}" for name, rows in part.items() for row in rows)
    return Counter(str(row) for row in part)


def table_of_kills(tally: Tally) -> str:
    lines = ["| killed after | kills |", "|---|---|"]
    lines += [f"| {point} | {kills} |" for point, kills in sorted(tally.kills.items())]
    summary = {name: value for name, value in vars(tally).items() if name != "kills"}
    lines += [f"| all | {tally.kills.total()} |", "", json.dumps(summary)]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    commit = ["git", "rev-parse", "--short", "HEAD"]
    return {
        "cores": RunSettings().thread_count,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "commit": subprocess.run(
            commit, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip(),
    }


if __name__ == "__main__":
    sys.exit(main())
