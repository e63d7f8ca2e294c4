"""How many queries a second does the chosen index answer, beside what people would take otherwise?

All indexes are over the same vectors, and answer the same queries on one core, in one batch and one
by one, at the least effort whose recall@10 reaches .95 on the first half of the queries; recall and
speed are those of the second half. Rounds take turns, so that load on the machine hits all alike,
and the processor's seconds of the best round count.

* `fashion`: Fashion-MNIST's 60,000 training pictures, 784 pixels scaled to length 1; its test
  pictures ask. Hard in that the vectors are long and not clustered.
* `clustered`: 100,000 vectors of 384 dimensions in 300 groups, each on 24 directions of its own
  with a little noise; further ones of the same groups ask.
* `FILE.npy`: vectors of your own; the last 2,000 ask.

    python benchmarks/search_peers.py --datasets ../shared/datasets --sets fashion clustered

Peers that are not installed are left out: `pip install -e '.[peers]'` brings hnswlib and usearch.
autofaiss asks for numpy before 2, but runs with newer: `pip install --no-deps autofaiss
embedding_reader fire`, `pip install pandas`. It gets one core and its defaults but for the memory
(1 GB) and the speed that it aims at (10 ms).
Prints the table and writes benchmarks/results/search_peers.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from search_sets import QUERIES, clustered, fashion, own

from models.indexes.build import build_index
from models.indexes.faiss_library import library, use_threads
from models.indexes.results import NO_ROW
from models.types import ArrayVectors, Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.types import Matrix, RowIds

RESULTS = Path(__file__).parent / "results" / "search_peers.json"
K, TARGET, ROUNDS, SINGLE = 10, 0.95, 3, 500
SLOW_S = 5
"""A peer that takes longer for the batch has no further round: one tells enough of it."""


@dataclass
class Peer:
    """An index, and how hard it may try.

    Attributes:
        name: of the peer.
        build: processor's seconds.
        efforts: least first; each is given to `search`.
        search: (queries, effort) to (queries, 10) rows.
        told: what it says of itself.
    """

    name: str
    build: float
    efforts: tuple[Any, ...]
    search: Callable[[Matrix, Any], RowIds]
    told: dict[str, Any]


def ours(vectors: Matrix) -> Peer:
    """Build as a space of unit vectors is; the effort is the one that it was tuned to."""
    began = time.process_time()
    built = build_index(ArrayVectors(vectors), Metric.COSINE)
    seconds = time.process_time() - began
    at_once = built.index.most_alone(K) or QUERIES

    def search(queries: Matrix, _: None) -> RowIds:
        parts = range(0, len(queries), at_once)
        found = [built.index.search(queries[at : at + at_once], K).rows for at in parts]
        return np.concatenate(found)

    told = {
        "factory": built.plan.factory,
        "stored_recall": built.recall.mean,
        "interval": [built.recall.low, built.recall.high],
        "reasons": list(built.plan.reasons),
    }
    return Peer("ours", seconds, (None,), search, told)


def faiss_peer(factory: str, vectors: Matrix) -> Peer:
    """Build a fixed factory string."""
    faiss = library()
    began = time.process_time()
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    seconds = time.process_time() - began
    if factory.startswith("HNSW"):
        efforts = tuple(
            faiss.SearchParametersHNSW(efSearch=ef)
            for ef in (10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256, 512)
        )
    else:
        efforts = tuple(
            faiss.SearchParametersIVF(nprobe=n)
            for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128, 256)
        )
    return Peer(
        factory, seconds, efforts, lambda q, effort: index.search(q, K, params=effort)[1], {}
    )


def hnswlib_peer(vectors: Matrix) -> Peer:
    """Build hnswlib's graph with M = 16, as its own examples do."""
    hnswlib = import_module("hnswlib")
    began = time.process_time()
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=200, random_seed=0)
    index.set_num_threads(1)
    index.add_items(vectors)
    seconds = time.process_time() - began

    def search(queries: Matrix, effort: int) -> RowIds:
        index.set_ef(effort)
        rows: RowIds = index.knn_query(queries, K)[0].astype(np.int64)
        return rows

    efforts = (10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256, 512)
    return Peer("hnswlib M16", seconds, efforts, search, {})


def usearch_peer(vectors: Matrix) -> Peer:
    """Build usearch's graph in float32 with its own defaults."""
    module = import_module("usearch.index")
    began = time.process_time()
    index = module.Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(vectors)), vectors, threads=1)
    seconds = time.process_time() - began

    def search(queries: Matrix, effort: int) -> RowIds:
        index.expansion_search = effort
        found: RowIds = np.asarray(index.search(queries, K, threads=1).keys).astype(np.int64)
        return found.reshape(-1, K)

    efforts = (10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256, 512)
    return Peer("usearch", seconds, efforts, search, {"connectivity": index.connectivity})


def autofaiss_peer(vectors: Matrix) -> Peer:
    """Let autofaiss choose and tune; its effort is the one that it ends with."""
    build = import_module("autofaiss").build_index
    began = time.process_time()
    index, told = build(
        vectors,
        save_on_disk=False,
        metric_type="ip",
        max_index_memory_usage="1G",
        current_memory_available="4G",
        max_index_query_time_ms=10,
        nb_cores=1,
        verbose=40,
    )
    seconds = time.process_time() - began
    library().omp_set_num_threads(1)
    kept = {"index_key": told["index_key"], "index_param": told["index_param"]} if told else {}
    return Peer("autofaiss", seconds, (None,), lambda q, _: index.search(q, K)[1], kept)


def peers(vectors: Matrix, wanted: list[str]) -> Iterator[Peer]:
    """Build one peer after the other."""
    makers: dict[str, Callable[[], Peer]] = {
        "ours": lambda: ours(vectors),
        "ivf": lambda: faiss_peer("IVF1024,Flat", vectors),
        "hnsw": lambda: faiss_peer("HNSW32", vectors),
        "hnswlib": lambda: hnswlib_peer(vectors),
        "usearch": lambda: usearch_peer(vectors),
        "autofaiss": lambda: autofaiss_peer(vectors),
    }
    for name in wanted:
        try:
            yield makers[name]()
        except ImportError as error:
            print(f"{name} is left out: {error}", flush=True)


def recall_of(found: RowIds, true: RowIds) -> float:
    """Return the share of the true neighbours."""
    return float(((found[:, :, None] == true[:, None, :]) & (found != NO_ROW)[:, :, None])
                 .any(axis=1).mean())  # fmt: skip


def tuned(peer: Peer, queries: Matrix, true: RowIds) -> Any:
    """Return the least effort that reaches the target."""
    for effort in peer.efforts:
        if recall_of(peer.search(queries, effort), true) >= TARGET:
            return effort
    return peer.efforts[-1]


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor's seconds of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def one_by_one(peer: Peer, queries: Matrix, effort: Any) -> None:
    """Ask query after query."""
    for at in range(len(queries)):
        peer.search(queries[at : at + 1], effort)


def measure(vectors: Matrix, queries: Matrix, wanted: list[str]) -> list[dict[str, Any]]:
    """Build all peers, let them take turns, and return a row for each."""
    true = library().knn(queries, vectors, K, library().METRIC_INNER_PRODUCT)[1]
    half = len(queries) // 2
    asking, single = queries[half:], queries[half : half + SINGLE]
    built = []
    for peer in peers(vectors, wanted):
        built.append((peer, tuned(peer, queries[:half], true[:half])))
        print(f"  {peer.name} built in {peer.build:.1f} s {peer.told}", flush=True)
    batch = {peer.name: np.inf for peer, _ in built}
    alone = dict(batch)
    for _ in range(ROUNDS):
        for peer, effort in built:
            if SLOW_S < batch[peer.name] < np.inf:
                continue
            spent = seconds_of(partial(peer.search, asking, effort))
            batch[peer.name] = min(batch[peer.name], spent)
            spent = seconds_of(partial(one_by_one, peer, single, effort))
            alone[peer.name] = min(alone[peer.name], spent)
    return [
        {
            "peer": peer.name,
            "build_cpu_s": round(peer.build, 2),
            "recall": round(recall_of(peer.search(asking, effort), true[half:]), 4),
            "qps_batch": round(half / batch[peer.name]),
            "qps_alone": round(SINGLE / alone[peer.name]),
            **peer.told,
        }
        for peer, effort in built
    ]


def report(name: str, rows: list[dict[str, Any]]) -> None:
    """Print a set's table, with the ratios to ours."""
    print(f"\n{name}\n{'peer':14} {'recall':>7} {'QPS':>8} {'alone':>8} {'build s':>8}  ours/peer")
    mine = rows[0]
    for row in rows:
        ratio = mine["qps_batch"] / row["qps_batch"]
        builds = row["build_cpu_s"] / max(mine["build_cpu_s"], 1e-9)
        print(
            f"{row['peer']:14} {row['recall']:7.4f} {row['qps_batch']:8,} {row['qps_alone']:8,} "
            f"{row['build_cpu_s']:8.1f}  {ratio:.2f} x QPS, "
            f"{mine['qps_alone'] / row['qps_alone']:.2f} x alone, {builds:.1f} x build time"
        )


def main() -> None:
    """Measure the sets that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--datasets", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--sets", nargs="+", default=["fashion", "clustered"])
    names = ["ours", "ivf", "hnsw", "hnswlib", "usearch", "autofaiss"]
    parser.add_argument("--peers", nargs="+", choices=names, default=names)
    given = parser.parse_args()
    use_threads(1)
    library()
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {"sets": {}}
    results["machine"] = platform.processor() or platform.machine()
    for name in given.sets:
        if name == "fashion":
            vectors, queries = fashion(given.datasets)
        else:
            vectors, queries = clustered() if name == "clustered" else own(Path(name))
        rows = measure(vectors, queries, given.peers)
        report(name, rows)
        results["sets"][Path(name).stem] = rows
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
