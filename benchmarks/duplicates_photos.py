"""How well are near-duplicate photos told, through the stages that every run uses?

A lake of neardup_photos_dev, whose true groups are known: ingest, embed, index, graph, the report
`duplicates`. Then, over pairs:

* average precision and recall at precision .99 of the stored edges, by score; pairs that are no
  edge count as never found;
* precision and recall of the edges that reach the default threshold, and of those that reach the
  one that `latentlake duplicates calibrate` chooses without the truth ("auto");
* the same of the vectors alone: all pairs, by cosine, and by cosine at the default of photos that
  are not verified. Computed by brute force in the same run.

A removal is true where the removed photo and its kept twin are of one group. With `--distinct` a
folder of photos of which nearly none repeats another tells how many removals there would be.

    .venv/bin/python benchmarks/duplicates_photos.py --datasets ../shared/datasets --json \
        benchmarks/results/duplicates_photos.json

The figures decided docs/decisions/0019-photos-are-verified-by-their-pixels.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from duplicate_thresholds import read_photos
from encode_lake import embed_seconds, machine

from data.lake import Lake
from latentlake.settings import load_settings
from models.types import normalised
from tasks.stages.builds import last_build
from tasks.stages.calibrating import Wanted, calibrate_space
from tasks.stages.edges import stored_edges
from tasks.stages.indexing import index_space
from tasks.stages.neighbours import link_neighbours
from tasks.stages.reporting import report_space
from tasks.stages.spaces import known_space, space_vectors
from tasks.stages.thresholds import DEFAULT_THRESHOLDS

if TYPE_CHECKING:
    import numpy.typing as npt

CONFIG = """
[lake]
root = "lake"
[[sources]]
name = "photos"
kind = "images"
uri = "{folder}"
[[spaces]]
name = "cnn"
encoder = "efficientnet-lite0"
sources = ["photos"]
"""
PRECISE = 0.99
BARS = {"average_precision": 0.995, "recall_at_99": 0.96, "precision": 0.98, "recall": 0.94}


def main() -> int:
    """Measure, print, and fail where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--distinct", type=Path, help="a folder of photos that repeat nothing")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    archive = arguments.datasets / "neardup_photos_dev.tar.zst"
    if not archive.is_file():
        print(f"skipped: no {archive} (--datasets names another folder)")
        return 0
    found: dict[str, Any] = {"machine": machine(), "bars": BARS}
    with tempfile.TemporaryDirectory() as folder:
        found |= measure(Path(folder), archive)
    if arguments.distinct:
        with tempfile.TemporaryDirectory() as folder:
            found["distinct"] = count_removals(Path(folder), arguments.distinct.resolve())
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", "utf-8")
    missed = [name for name, least in BARS.items() if found["auto"][name] < least]
    print(f"missed: {', '.join(missed)}" if missed else "all bars are met")
    return len(missed)


def measure(project: Path, archive: Path) -> dict[str, Any]:
    """Return the figures of the photos whose truth is known."""
    photos = read_photos(archive)
    (project / "photos").mkdir()
    for number, photo in enumerate(photos):
        kind = "png" if photo.payload.startswith(b"\x89PNG") else "jpg"
        (project / "photos" / f"{number:04}.{kind}").write_bytes(photo.payload)
    seconds = build(project, "photos")
    settings = load_settings(project / "latentlake.toml")
    lake = Lake(settings.root)
    space = known_space(lake, "cnn")
    vectors = space_vectors(lake, settings, space)
    items = lake.read("items").to_pylist()
    number_of = {item["content_id"]: int(Path(item["uri"]).stem) for item in items}
    groups = np.array(
        [photos[number_of[content]].group for content in vectors.content_ids.to_pylist()]
    )
    total = sum(n * (n - 1) // 2 for n in np.unique(groups, return_counts=True)[1])
    edges = stored_edges(lake, settings, space, vectors)
    auto, _ = calibrate_space(lake, settings, "cnn", Wanted())
    true = groups[edges.first] == groups[edges.second]
    group_of = {item["item_id"]: photos[number_of[item["content_id"]]].group for item in items}
    removals = lake.read("duplicates").to_pylist()
    right = [group_of[row["item_id"]] == group_of[row["twin_id"]] for row in removals]
    unit = normalised(np.concatenate(list(vectors.batches(1000))))
    upper = np.triu_indices(vectors.rows, 1)
    cosines, same = (unit @ unit.T)[upper], (groups[:, None] == groups[None])[upper]
    return {
        "photos": vectors.rows,
        "true_pairs": int(total),
        "edges": edges.count,
        "verified": judged(edges.scores, true, int(total), edges.thresholds["perceptual"]),
        "auto": judged(edges.scores, true, int(total), auto.threshold),
        "vectors_alone": judged(cosines, same, int(total), DEFAULT_THRESHOLDS["image"]),
        "removals": {"count": len(removals), "true": sum(right)},
        "seconds": seconds,
        "report": details(lake, "verified"),
    }


def count_removals(project: Path, photos: Path) -> dict[str, Any]:
    """Return what the report does to photos of which nearly none repeats another."""
    seconds = build(project, str(photos))
    lake = Lake(str(project / "lake"))
    rows = lake.read("duplicates").to_pylist()
    uris = {item["item_id"]: item["uri"] for item in lake.read("items").to_pylist()}
    return {
        "photos": len(uris),
        "removals": [
            {"removed": uris[row["item_id"]], "kept": uris[row["twin_id"]], "score": row["score"]}
            for row in rows
            if row["kind"] != "exact"
        ],
        "seconds": seconds,
        "report": details(lake, "verified"),
    }


def build(project: Path, folder: str) -> dict[str, float]:
    """Run all stages up to the report; return what embedding and the report took, in seconds."""
    (project / "latentlake.toml").write_text(CONFIG.format(folder=folder), "utf-8")
    embedded = embed_seconds(project, "photos", "cnn")
    settings = load_settings(project / "latentlake.toml")
    lake = Lake(settings.root)
    index_space(lake, settings, "cnn", "run")
    link_neighbours(lake, settings, "cnn", "run")
    began = time.monotonic()
    report_space(lake, settings, "cnn", "duplicates", "run")
    return {"embed": round(embedded, 2), "duplicates": round(time.monotonic() - began, 2)}


def details(lake: Lake, stage: str) -> dict[str, Any]:
    """Return what a stage has recorded of itself."""
    build = last_build(lake, stage, known_space(lake, "cnn"))
    recorded: dict[str, Any] = json.loads(build["details"]) if build else {}
    return {name: value for name, value in recorded.items() if name != "recipe"}


def judged(
    scores: npt.NDArray[np.float32], true: npt.NDArray[np.bool_], total: int, threshold: float
) -> dict[str, float]:
    """Return average precision, recall at precision .99, and both at a threshold."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(true[order])
    precision, recall = right / np.arange(1, order.size + 1), right / total
    taken = scores >= threshold
    return {
        "average_precision": float(precision[true[order]].sum() / total),
        "recall_at_99": float(recall[precision >= PRECISE].max(initial=0)),
        "threshold": threshold,
        "precision": float(true[taken].mean()),
        "recall": float(true[taken].sum() / total),
    }


if __name__ == "__main__":
    sys.exit(main())
