"""A lake of made-up vectors: quick to build, and its state is known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data.catalog import write_catalog
from data.content import content_id
from data.lake import Lake, Snapshot, table_of
from data.shards import SpaceId, register_shards, shard_name, shard_paths, write_shard
from data.vectors import open_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy.typing as npt

SPACE = SpaceId("cnn", "f00d", 4, "cosine")


@dataclass
class Toy:
    """A lake with one space, driven step by step; each step ends in a snapshot.

    `states[number]` is what the snapshot of that number held when it was made: item -> content.
    """

    root: Path
    runs: int = 0
    items: dict[str, str] = field(default_factory=dict)
    states: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root))

    @property
    def space(self) -> SpaceId:
        return SPACE

    def content(self, name: str) -> str:
        return content_id(name)

    def vector(self, content: str) -> npt.NDArray[np.float32]:
        """The vector that the space has of a content: it depends on the content alone."""
        seed = int(content[:8], 16)
        return np.random.default_rng(seed).normal(size=SPACE.dim).astype(np.float32)

    def write(self, contents: Iterable[str], space: SpaceId = SPACE) -> Path:
        """Write a shard, registered nowhere."""
        ids = list(contents)
        matrix = np.stack([self.vector(one) for one in ids])
        path = self.root / space.folder / shard_name(space, ids)
        write_shard(path, space, ids, matrix, encoder={"weights": "w"})
        return path

    def shard(self, contents: Iterable[str], run: str = "run") -> Path:
        """Write a shard and register it."""
        from data.shards import finished_shard

        path = self.write(contents)
        receipt = finished_shard(path, SPACE)
        assert receipt is not None
        register_shards(self.lake, SPACE, [replace(receipt)], run)
        return path

    def run(self, put: dict[str, str], gone: Iterable[str] = ()) -> Snapshot:
        """A run: items appear, change or go; new contents get one shard; a snapshot."""
        self.runs += 1
        run = f"20260101T0000{self.runs:02}000-00000{self.runs % 10}"
        lake = self.lake
        contents = {name: self.content(text) for name, text in put.items()}
        rows = [_item(name, content, run) for name, content in contents.items()]
        rows += [
            _item(name, self.items[name], run) | {"deleted": True}
            for name in gone
            if name in self.items and name not in contents
        ]
        lake.upsert("items", table_of("items", rows), run)
        known = self.embedded()
        fresh = [content for content in dict.fromkeys(contents.values()) if content not in known]
        if fresh:
            self.shard(fresh, run)
        space = {
            "space": SPACE.name,
            "fingerprint": SPACE.fingerprint,
            "dim": SPACE.dim,
            "metric": SPACE.metric,
            "encoder": "toy",
            "modality": "image",
            "is_current": True,
        }
        lake.upsert("spaces", table_of("spaces", [space]), run)
        lake.upsert("runs", table_of("runs", [{"run_id": run, "counts": "{}"}]), run)
        gone = [name for name in gone if name not in contents]
        self.items = {k: v for k, v in (self.items | contents).items() if k not in gone}
        return self.snapshot(run)

    def snapshot(self, run: str) -> Snapshot:
        snapshot = self.lake.commit_snapshot(run)
        write_catalog(self.lake, snapshot)
        self.states[snapshot.number] = dict(self.items)
        return snapshot

    def embedded(self, snapshot: Snapshot | None = None) -> set[str]:
        paths = shard_paths(self.lake, SPACE, snapshot)
        import pyarrow.parquet as pq

        return {i for path in paths for i in pq.read_table(path)["content_id"].to_pylist()}

    def read(self, snapshot: Snapshot | None = None) -> dict[str, bytes]:
        """item -> the bytes of its vector, as readers of a snapshot see them."""
        rows = self.lake.read("items", snapshot=snapshot).to_pylist()
        live = {row["item_id"]: row["content_id"] for row in rows if not row["deleted"]}
        import pyarrow as pa

        active = pa.array(list(live.values()), pa.string())
        vectors = open_vectors(shard_paths(self.lake, SPACE, snapshot), SPACE.dim, active)
        parts = list(vectors.batches(3))
        matrix = np.concatenate(parts) if parts else np.empty((0, SPACE.dim), np.float32)
        of = dict(zip(vectors.content_ids.to_pylist(), matrix, strict=True))
        return {item: of[content].tobytes() for item, content in live.items()}

    def expected(self, state: dict[str, str]) -> dict[str, bytes]:
        return {item: self.vector(content).tobytes() for item, content in state.items()}

    def assert_kept_snapshots_are_whole(self) -> None:
        for number in self.lake.snapshots():
            snapshot = self.lake.snapshot(number)
            assert self.read(snapshot) == self.expected(self.states[number])


def _item(name: str, content: str, run: str) -> dict[str, object]:
    return {
        "item_id": name,
        "source": "s",
        "uri": name,
        "file": name,
        "content_id": content,
        "modality": "image",
        "first_run": run,
        "last_run": run,
        "deleted": False,
    }


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "lake")


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Toy]:
    return lambda: Toy(tmp_path_factory.mktemp("lake"))
