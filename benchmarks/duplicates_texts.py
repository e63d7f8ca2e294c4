"""What lexical duplicates find of texts whose truth is known, and what a batch of them costs.

Three collections go through the public stages (ingest, embed, report), with word2vec as the
cheapest encoder: arXiv abstracts in two revisions, articles of which ten were plagiarised, and
39,907 abstracts, of which 1 % come later as a batch. Peer of the wording is the vectors: the same
truth is held against cosines, at the threshold that suits them best, at the one that calibration
chooses without the truth, and at the least one that has the precision calibration is asked for.

    python benchmarks/duplicates_texts.py --datasets ../shared/datasets
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from encode_lake import machine
from incremental_lake import Meter

from data.lake import Lake
from latentlake.settings import load_settings
from tasks.stages.calibrating import Wanted, measure_threshold
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.ingesting import ingest_source
from tasks.stages.planning import plan_embedding
from tasks.stages.reporting import report_space
from tasks.stages.spaces import find_space, known_space, make_space, space_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable

Pair = tuple[str, str]

RESULTS = Path(__file__).parent / "results" / "duplicates_texts.json"
COUNTS, IGNORED = 0.5, 0.2
"""Revisions of this Jaccard index count, those between the two are neither right nor wrong."""
STEPS = (0.5, 0.6, 0.7, 0.8, 0.9)
BATCH = 400
LEAST_TRIED = 0.9
"""Cosine; the best thresholds lie above."""
CONFIG = """
[[sources]]
name = "texts"
kind = "text"
uri = "texts"
text = "text"
key = "id"
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["texts"]
vocabulary = false
options = { dim = 64, epochs = 3 }
duplicates = { threshold = 0.999, lexical = 0.5 }
"""


def write_texts(path: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Write texts as a source of the lake."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": name, "text": text}) for name, text in texts)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def derive(folder: Path, meter: Meter) -> Lake:
    """Bring a lake up to date: ingest, embed, and the report."""
    (folder / "latentlake.toml").write_text(CONFIG, "utf-8")
    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    with meter.stage("ingest"):
        ingest_source(lake, settings, "texts", "run")
    with meter.stage("train"):
        space = find_space(lake, settings, "words") or make_space(lake, settings, "words", "run")
    with meter.stage("embed"):
        plan = plan_embedding(lake, settings, space)
        groups = plan.groups
        receipts = [r for group in groups for r in encode_group(lake, settings, space, group)]
        commit_embedding(lake, space, plan, receipts, "run")
    with meter.stage("duplicates"):
        report_space(lake, settings, "words", "duplicates", "run")
    return lake


def pairs_of(lake: Lake) -> dict[Pair, float]:
    """Return the stored lexical pairs, by the keys of their items."""
    items = lake.read("items", where=~pc.field("deleted"), columns=["content_id", "key"])
    keys: dict[str, list[str]] = {}
    for row in items.to_pylist():
        keys.setdefault(row["content_id"], []).append(row["key"])
    found: dict[Pair, float] = {}
    for row in lake.read("lexical_pairs").to_pylist():
        for one in keys[row["first"]]:
            for other in keys[row["second"]]:
                found[ordered(one, other)] = row["similarity"]
    for copies in keys.values():  # items of equal bytes are one content
        found |= {ordered(one, other): 1.0 for one in copies for other in copies if one < other}
    return found


def ordered(one: str, other: str) -> Pair:
    """Return two keys in their order."""
    return (one, other) if one < other else (other, one)


def read_docs(path: Path) -> list[tuple[str, str]]:
    """Return ids and texts."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [(row["id"], row["text"]) for row in map(json.loads, lines)]


def read_truth(path: Path) -> list[dict[str, str]]:
    """Return the rows of a truth file."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def judged(found: set[Pair], right: set[Pair], ignored: set[Pair]) -> dict[str, float]:
    """Return precision, recall and F1 of pairs, those that are ignored left out."""
    told = found - ignored
    return scored(len(told), len(told & right), len(right))


def scored(found: int, right: int, wanted: int) -> dict[str, float]:
    """Return precision, recall and F1."""
    return {
        "found": found,
        "right": right,
        "wanted": wanted,
        "precision": round(right / max(1, found), 4),
        "recall": round(right / wanted, 4),
        "f1": round(2 * right / (found + wanted), 4),
    }


def told_by_vectors(lake: Lake, folder: Path, right: set[Pair], ignored: set[Pair]) -> Any:
    """Return what cosines of the vectors tell: at best by F1, calibrated, at the same precision."""
    settings = load_settings(folder / "latentlake.toml")
    space = known_space(lake, "words")
    vectors = space_vectors(lake, settings, space)
    wanted = Wanted()
    calibration = measure_threshold(lake, settings, space, vectors, wanted)
    matrix = np.concatenate(list(vectors.batches(1 << 14)))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    items = lake.read("items", columns=["content_id", "key"])
    rows = vectors.rows_of(items["content_id"])
    row_of = dict(zip(items["key"].to_pylist(), rows.tolist(), strict=True))
    similarities = matrix @ matrix.T
    one, another = np.triu_indices(len(matrix), 1)
    values = similarities[one, another]
    near = np.flatnonzero(values >= LEAST_TRIED)
    near = near[np.argsort(-values[near], kind="stable")]
    values = -values[near]  # ascending, as `searchsorted` wants them
    pairs = list(zip(one[near].tolist(), another[near].tolist(), strict=True))
    true, other = (
        {(min(row_of[a], row_of[b]), max(row_of[a], row_of[b])) for a, b in some}
        for some in (right, ignored)
    )
    is_right = np.cumsum([pair in true for pair in pairs])
    is_ignored = np.cumsum([pair in other for pair in pairs])

    def told(threshold: float) -> dict[str, float]:
        last = int(np.searchsorted(values, -threshold, side="right")) - 1
        if last < 0:
            return {"threshold": round(threshold, 4)} | scored(0, 0, len(true))
        found = last + 1 - int(is_ignored[last])
        return {"threshold": round(threshold, 4)} | scored(found, int(is_right[last]), len(true))

    tried = [told(float(threshold)) for threshold in np.linspace(LEAST_TRIED, 0.9995, 400)]
    precise = (one for one in tried if one["precision"] >= wanted.precision)
    return max(tried, key=lambda one: one["f1"]) | {
        "least precise": next(precise),
        "calibrated": told(calibration.threshold)
        | {"low": round(calibration.low, 4), "high": round(calibration.high, 4)},
    }


def measure_revisions(datasets: Path, folder: Path) -> dict[str, Any]:
    """Find the revisions of abstracts."""
    write_texts(folder / "texts" / "a.jsonl", read_docs(datasets / "arxiv_revisions_docs.jsonl.gz"))
    truth = {
        ordered(row["id_a"], row["id_b"]): float(row["jaccard_word3"])
        for row in read_truth(datasets / "arxiv_revisions_truth.csv")
    }
    right = {pair for pair, value in truth.items() if value >= COUNTS}
    ignored = {pair for pair, value in truth.items() if IGNORED <= value < COUNTS}
    lake = derive(folder, Meter())
    return {
        "wording": judged(set(pairs_of(lake)), right, ignored),
        "vectors": told_by_vectors(lake, folder, right, ignored),
    }


def measure_articles(datasets: Path, folder: Path) -> dict[str, Any]:
    """Find the plagiarised articles."""
    docs = read_docs(datasets / "plagiarised_articles_1000.jsonl.gz")
    write_texts(folder / "texts" / "a.jsonl", docs)
    rows = read_truth(datasets / "plagiarised_articles_1000_truth.csv")
    right = {ordered(row["id_a"], row["id_b"]) for row in rows}
    lake = derive(folder, Meter())
    return {
        "wording": judged(set(pairs_of(lake)), right, set()),
        "vectors": told_by_vectors(lake, folder, right, set()),
    }


def measure_abstracts(datasets: Path, folder: Path) -> dict[str, Any]:
    """Count the pairs among abstracts by their Jaccard index, and what a batch costs."""
    table = pq.read_table(datasets / "arxiv_abstracts.parquet", columns=["arxiv_id", "abstract"])
    ids, texts = (table[name].to_pylist() for name in ("arxiv_id", "abstract"))
    docs = list(zip(ids, texts, strict=True))
    write_texts(folder / "texts" / "a.jsonl", docs[:-BATCH])
    whole, batch = Meter(), Meter()
    derive(folder, whole)
    write_texts(folder / "texts" / "b.jsonl", docs[-BATCH:])
    lake = derive(folder, batch)
    values = np.array(list(pairs_of(lake).values()))
    sizes = {
        name: sum(Path(path).stat().st_size for path in lake.files(name))
        for name in ("wordings", "lexical_pairs", "lexical_paired")
    }
    return {
        "texts": len(docs),
        "characters": sum(map(len, texts)),
        "batch": BATCH,
        "pairs of at least": {str(step): int((values >= step).sum()) for step in STEPS},
        "cpu seconds": {
            name: {stage: round(value, 2) for stage, value in meter.cpu_seconds.items()}
            for name, meter in (("whole", whole), ("batch", batch))
        },
        "bytes": sizes,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go, as JSON")
    parts = {
        "arxiv_revisions": measure_revisions,
        "plagiarised_articles": measure_articles,
        "arxiv_abstracts": measure_abstracts,
    }
    parser.add_argument("--only", nargs="+", choices=parts, help="parts; others stay as they were")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.out.read_text("utf-8")) if options.only else {}
    for name in options.only or parts:
        measure = parts[name]
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(options.datasets, Path(folder)) | {"machine": machine()}
        print(name, json.dumps(results[name], indent=1))
    options.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
