"""Rules of removal: what batches and their order may change (nothing), and what a batch did."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.stages.deduplicating import ranked_items
from tasks.stages.edges import stored_edges
from tasks.stages.spaces import known_space, space_vectors
from tests.tasks.conftest import Project, age

if TYPE_CHECKING:
    from pathlib import Path

    from models.types import Matrix
    from tasks.stages.receipts import StageReceipt

CONFIG = """
[[sources]]
name = "mine"
kind = "vectors"
uri = "mine.parquet"
key = "id"
[[spaces]]
name = "own"
encoder = "vectors"
sources = ["mine"]
neighbours = 5
duplicates = {{ threshold = 0.97, rule = "{rule}", keep = "metadata->>'rank' asc" }}
[run]
threads = 2
shard_rows = 64
"""


class Vectors(Project):
    """A project whose only source is a table of vectors."""

    def configure(self, rule: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "latentlake.toml").write_text(CONFIG.format(rule=rule), "utf-8")

    def feed(self, rows: dict[str, Matrix]) -> StageReceipt:
        """Let the source hold these rows, and run; return what the report tells."""
        columns = {
            "id": list(rows),
            "vector": pa.array([row.tolist() for row in rows.values()], pa.list_(pa.float32())),
            "rank": [str(hash_of(key)) for key in rows],
        }
        pq.write_table(pa.table(columns), self.folder / "mine.parquet")
        age(self.folder / "mine.parquet")
        summary = self.run()
        assert not summary.errors
        (receipt,) = [one for one in summary.receipts if one.stage == "duplicates"]
        return receipt

    def twins(self) -> dict[str, tuple[str, str]]:
        """Return for each removed key its twin and the kind."""
        keys = {row["item_id"]: row["key"] for row in self.lake.read("items").to_pylist()}
        return {
            keys[row["item_id"]]: (keys[row["twin_id"]], row["kind"])
            for row in self.lake.read("duplicates").to_pylist()
        }

    def near(self) -> set[frozenset[str]]:
        """Return the keys of items that are within the threshold, as brute force has them."""
        lake, settings = self.lake, self.settings
        vectors = space_vectors(lake, settings, known_space(lake, "own"))
        matrix = np.concatenate(list(vectors.batches(1000))).astype(np.float64)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        row = {content: at for at, content in enumerate(vectors.content_ids.to_pylist())}
        items = [one for one in lake.read("items").to_pylist() if not one["deleted"]]
        return {
            frozenset((a["key"], b["key"]))
            for a in items
            for b in items
            if a["key"] != b["key"]
            and matrix[row[a["content_id"]]] @ matrix[row[b["content_id"]]] >= 0.97 - 1e-6
        }


def hash_of(key: str) -> int:
    """Some order that has nothing to do with the one in which rows come."""
    return 100 + (int(key[1:]) * 37) % 91


def chained(seed: int, rows: int = 60) -> dict[str, Matrix]:
    """Groups, chains and copies on a circle in 6 dimensions."""
    random = np.random.default_rng(seed)
    angles = np.cumsum(random.choice([0.0, 0.1, 0.2, 0.5], rows))
    matrix = 0.02 * random.normal(size=(rows, 6))
    matrix[:, 0] += np.cos(angles)
    matrix[:, 1] += np.sin(angles)
    matrix[5] = matrix[40]
    matrix[17] = matrix[3]
    return {f"k{n}": matrix[n].astype(np.float32) for n in range(rows)}


@pytest.fixture
def made(tmp_path: Path) -> Vectors:
    return Vectors(tmp_path / "made")


@pytest.mark.parametrize(("rule", "seed"), [("greedy-cover", 0), ("components", 1)])
def test_batches_and_their_order_decide_nothing(tmp_path: Path, rule: str, seed: int) -> None:
    rows, random = chained(seed), np.random.default_rng(seed)
    found = []
    for batches in (1, 3, 6):
        project = Vectors(tmp_path / f"in-{batches}")
        project.configure(rule)
        keys = list(random.permutation(list(rows)))
        for stop in np.linspace(0, len(keys), batches + 1).astype(int)[1:]:
            held = list(random.permutation(keys[:stop]))
            project.feed({key: rows[key] for key in held})
        found.append(project.twins())
    assert len(found[0]) > 15
    assert found[0] == found[1] == found[2]


def walked(order: list[str], near: set[frozenset[str]]) -> set[str]:
    kept: list[str] = []
    for key in order:
        if not any(frozenset((key, other)) in near for other in kept):
            kept.append(key)
    return set(kept)


@pytest.mark.parametrize("seed", range(2))
def test_a_component_s_members_go_with_the_first_of_it(made: Vectors, seed: int) -> None:
    rows = chained(seed)
    made.configure("components")
    made.feed(rows)
    near, twins = made.near(), made.twins()
    order = sorted(rows, key=lambda key: (hash_of(key), key))
    kept = rows.keys() - twins.keys()
    assert len(kept) == len(walked(order, near))
    for key, (twin, kind) in twins.items():
        if kind == "near":
            able = [hash_of(one) for one in kept if frozenset((one, key)) in near]
            assert hash_of(twin) == min(able)
    made.configure("greedy-cover")
    made.feed(rows)
    assert rows.keys() - made.twins().keys() == kept
    assert made.twins() != twins, "the nearest is not always the first"


def test_who_was_kept_first_stays_while_it_exists(made: Vectors) -> None:
    rows = chained(4, 60)
    made.configure("first-seen")
    random = np.random.default_rng(4)
    present: dict[str, Matrix] = {}
    kept: set[str] = set()
    waiting = list(random.permutation(list(rows)))
    for step in range(6):
        come = [waiting.pop() for _ in range(12)] if len(waiting) >= 12 else []
        gone = list(random.choice(sorted(present), 6, replace=False)) if step else []
        present = {k: v for k, v in present.items() if k not in gone} | {k: rows[k] for k in come}
        waiting = [*gone, *waiting]
        made.feed(present)
        twins, near = made.twins(), made.near()
        assert (kept & present.keys()) <= present.keys() - twins.keys(), step
        kept = present.keys() - twins.keys()
        assert all(frozenset((key, twin)) in near for key, (twin, _) in twins.items())
        assert not any(pair <= kept for pair in near)
        assert not made.run().changed


def test_a_receipt_tells_what_a_batch_changed(made: Vectors) -> None:
    along = [np.array([np.cos(a), np.sin(a)], np.float32) for a in (0.0, 0.2, 0.4, 2.0)]
    made.configure("greedy-cover")
    # hash_of: k0 100, k1 137, k2 174, k3 120; k1 lies between k0 and k2.
    names = ("k0", "k1", "k2", "k3")
    first = made.feed(dict(zip(names[:2], along[:2], strict=True)))
    changes = ("newly_removed", "returned", "twin_changed")
    assert [first.counts[name] for name in changes] == [0, 0, 0]
    assert made.twins() == {"k1": ("k0", "near")}
    second = made.feed({"k0": along[0], "k1": along[1], "k3": along[1], "k2": along[3]})
    assert made.twins() == {"k1": ("k0", "near"), "k3": ("k0", "near")}
    assert [second.counts[name] for name in changes] == [1, 0, 0]
    third = made.feed({"k1": along[1], "k3": along[2], "k2": along[3]})
    assert made.twins() == {"k1": ("k3", "near")}
    assert [third.counts[name] for name in changes] == [0, 1, 1]
    space = known_space(made.lake, "own")
    vectors = space_vectors(made.lake, made.settings, space)
    assert stored_edges(made.lake, made.settings, space, vectors).within().count == 1


def test_the_order_to_keep_is_any_sql_over_the_items(project: Project) -> None:
    photos = sorted((project.folder / "photos").iterdir())
    shutil.copy2(photos[0], project.folder / "photos" / "zz.jpg")
    age(project.folder / "photos" / "zz.jpg")  # the same size in all, and older
    project.ingest("photos")
    keep = "width*height desc, size_bytes desc, modified_at asc"
    ranked = ranked_items(project.lake, ("photos",), keep)["item_id"].to_pylist()
    items = project.lake.read("items").to_pylist()
    items.sort(
        key=lambda one: (-one["width"] * one["height"], -one["size_bytes"], one["modified_at"])
    )
    assert ranked == [one["item_id"] for one in items]
    places = {one["uri"]: at for at, one in enumerate(items)}
    assert places["zz.jpg"] == places[photos[0].name] - 1
