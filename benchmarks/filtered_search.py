"""Does a filtered search filter before, or search more and filter afterwards?

100,000 clustered vectors of 384 dimensions (see `search_sets.clustered`); a share of the rows is
allowed, chosen by chance. *Before* is the product's search: FAISS sees only allowed rows, and more
lists are probed as they get fewer. *Afterwards* asks for k / share rows and a quarter more, drops
those that are not allowed, and asks for twice as many where fewer than k are left, until there are
k or all have been seen: what a query gets does not depend on the others. Recall@10 is held against
brute force over the allowed rows; the time is the processor's of one core, in microseconds a query,
the best of three rounds of 300 queries.

    python benchmarks/filtered_search.py

Prints the table and writes benchmarks/results/filtered_search.json.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from search_sets import clustered

from models.indexes.build import build_index
from models.indexes.faiss_library import library, use_threads
from models.indexes.plans import Coding, IndexKind, plan_for
from models.indexes.results import NO_ROW
from models.types import ArrayVectors, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix, RowIds

RESULTS = Path(__file__).parent / "results" / "filtered_search.json"
K, QUERIES, ROUNDS = 10, 300, 3
SHARES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
KINDS = {"pq": Coding(384, parts=96), "ivf_sqfp16": Coding(384)}


def among(index: VectorIndex, queries: Matrix, allowed: RowIds) -> RowIds:
    """Return (queries, 10) allowed rows, found as the product finds them."""
    return index.search(queries, K, allowed).rows


def afterwards(
    index: VectorIndex, queries: Matrix, allowed: npt.NDArray[np.bool_], share: float
) -> RowIds:
    """Return (queries, 10) allowed rows, found among more of all rows."""
    answers = np.full((len(queries), K), NO_ROW)
    asking, fetched = np.arange(len(queries)), ceil(1.25 * K / share)
    while asking.size:
        rows = index.search(queries[asking], min(fetched, index.rows)).rows
        kept = (rows != NO_ROW) & allowed[rows]
        for query, row, keep in zip(asking, rows, kept, strict=True):
            best = row[keep][:K]
            answers[query, : best.size] = best
        if fetched >= index.rows:
            break
        asking, fetched = asking[kept.sum(axis=1) < K], 2 * fetched
    return answers


def measured(search: Callable[[], RowIds], true: RowIds) -> dict[str, float]:
    """Return recall and the best time."""
    best, found = np.inf, search()
    for _ in range(ROUNDS):
        began = time.process_time()
        found = search()
        best = min(best, time.process_time() - began)
    hits = (found[:, :, None] == true[:, None, :]).any(axis=1)
    return {"recall": round(float(hits.mean()), 3), "us": round(best / len(true) * 1e6)}


def measure(index: VectorIndex, vectors: Matrix, queries: Matrix) -> list[dict[str, Any]]:
    """Measure an index at all shares."""
    random = np.random.default_rng(1)
    rows = []
    for share in SHARES:
        allowed = np.flatnonzero(random.random(len(vectors)) < share)
        flags = np.zeros(len(vectors), np.bool_)
        flags[allowed] = True
        inside = library().knn(queries, vectors[allowed], K, library().METRIC_INNER_PRODUCT)[1]
        before = measured(partial(among, index, queries, allowed), allowed[inside])
        after = measured(partial(afterwards, index, queries, flags, share), allowed[inside])
        rows.append({"share": share, "before": before, "afterwards": after})
        print(
            f"  {share:5} before {before['recall']:.3f} {before['us']:6.0f} us   "
            f"afterwards {after['recall']:.3f} {after['us']:6.0f} us",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure the kinds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    given = parser.parse_args()
    use_threads(1)
    vectors, queries = clustered()
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for kind in given.kinds:
        plan = plan_for(IndexKind(kind), len(vectors), coding=KINDS[kind])
        built = build_index(ArrayVectors(vectors), Metric.COSINE, plan)
        print(f"{built.plan.factory} {built.plan.search_parameters}", flush=True)
        results[kind] = {
            "factory": built.plan.factory,
            "recall": round(built.recall.mean, 3),
            "shares": measure(built.index, vectors, queries[:QUERIES]),
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
