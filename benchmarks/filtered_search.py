"""What does a filtered search cost, and what does it find, by the share of rows it may find?

100,000 clustered vectors of 384 dimensions (see `search_sets.clustered`); a share of the rows is
allowed, chosen by chance. *Product* is what users get: all allowed rows are compared where that is
counted to cost less, else FAISS *looks* for them, trying harder as they get fewer; *looking* does
so always. *Afterwards* asks for k / share rows and a quarter more, drops
those that are not allowed, and asks for twice as many where fewer than k are left, until there are
k or all have been seen: what a query gets does not depend on the others. Recall@10 is held against
brute force over the allowed rows; the time is the processor's of one core, in microseconds a query,
the best of three rounds: of 300 queries together, and of 30 one by one (`alone`). Looking through
an HNSW graph, where each query takes what it takes alone, is measured with 3 queries, once.

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
from unittest.mock import patch

import numpy as np
from search_sets import clustered

from models.indexes.build import build_index
from models.indexes.faiss_library import library, use_threads
from models.indexes.plans import Coding, IndexKind, plan_for
from models.indexes.results import NO_ROW
from models.indexes.searcher import Searcher
from models.types import ArrayVectors, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from models.indexes.vector_index import VectorIndex
    from models.types import Matrix, RowIds

    Search = Callable[[Matrix], RowIds]

RESULTS = Path(__file__).parent / "results" / "filtered_search.json"
K, QUERIES, ALONE, ROUNDS = 10, 300, 30, 3
SHARES = (0.0001, 0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
LEAST_AFTERWARDS = 0.02
"""Share from which on filtering afterwards is tried: below, it asks for most of the rows."""
KINDS = {
    "pq": Coding(384, parts=96),
    "ivf_sqfp16": Coding(384),
    "hnsw": Coding(384),
    "flat": Coding(384),
}


def among(index: VectorIndex, allowed: RowIds, queries: Matrix) -> RowIds:
    """Return (queries, 10) allowed rows, found as the product finds them."""
    return index.search(queries, K, allowed).rows


def afterwards(
    index: VectorIndex, allowed: npt.NDArray[np.bool_], share: float, queries: Matrix
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


def measured(search: Search, queries: Matrix, true: RowIds, rounds: int) -> dict[str, float]:
    """Return recall, and the best time a query."""
    times: list[float] = []
    found = true[:0]
    for _ in range(1 + rounds):
        began = time.process_time()
        found = search(queries)
        times.append(time.process_time() - began)
    hits = (found[:, :, None] == true[: len(queries), None, :]).any(axis=1)
    return {
        "recall": round(float(hits.sum() / hits.shape[0] / min(K, true.shape[1])), 3),
        "us": round(min(times) / len(queries) * 1e6),
    }


def both(search: Search, queries: Matrix, true: RowIds, *, is_slow: bool) -> dict[str, float]:
    """Measure queries together, and some one by one."""

    def one_by_one(some: Matrix) -> RowIds:
        return np.concatenate([search(some[at : at + 1]) for at in range(len(some))])

    alone = measured(one_by_one, queries[: 3 if is_slow else ALONE], true, 0 if is_slow else ROUNDS)
    if is_slow:
        return {"recall": alone["recall"], "us": alone["us"], "alone_us": alone["us"]}
    return measured(search, queries, true, ROUNDS) | {"alone_us": alone["us"]}


def measure(index: VectorIndex, vectors: Matrix, queries: Matrix) -> list[dict[str, Any]]:
    """Measure an index at all shares."""
    random = np.random.default_rng(1)
    rows = []
    for share in SHARES:
        allowed = np.flatnonzero(random.random(len(vectors)) < share)
        flags = np.zeros(len(vectors), np.bool_)
        flags[allowed] = True
        inside = library().knn(queries, vectors[allowed], K, library().METRIC_INNER_PRODUCT)[1]
        true, slow = allowed[inside], index.is_graph
        search = partial(among, index, allowed)
        row: dict[str, Any] = {"share": share, "allowed": int(allowed.size)}
        row["product"] = both(search, queries, true, is_slow=False)
        with patch.object(Searcher, "_is_cheaper_to_scan", return_value=False):
            row["looking"] = both(search, queries, true, is_slow=slow)
        if share >= LEAST_AFTERWARDS and index.lists is not None:
            later = partial(afterwards, index, flags, share)
            row["afterwards"] = measured(later, queries, true, ROUNDS)
        rows.append(row)
        print("  ", json.dumps(row), flush=True)
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
