"""What does SQL add to FAISS? One run prints `nearest` in SQL beside the search it stands on.

Makes a lake of vectors with its index (or takes one that is there), opens the connection of
`latentlake sql`, and asks for the 10 nearest of random vectors, one at a time:

* `faiss`: the index alone, from Python;
* `nearest`: `SELECT * FROM nearest('own', $1, 10)`, the vector a parameter;
* `joined`: the same, joined with `items`;
* `literal`: the vector written into the statement;
* `lateral`: 1,000 rows of the table `embeddings_own` ask in one statement, time a row;
* `scan`: the macro of `catalog.duckdb`, which computes every similarity.

    .venv/bin/python benchmarks/sql_nearest.py --rows 1000000

Prints medians in milliseconds. Exit status 1 if `nearest` takes over 2 ms more than `faiss`.
Writes benchmarks/results/sql_nearest.json.
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
from incremental_lake import machine_facts
from vector_lake import DIM, SPACE, made_vectors, make_lake

from data.catalog import connect
from data.lake import Lake
from tasks.stages.indexing import index_space, stored_index
from tasks.stages.nearest import add_nearest
from tasks.stages.runs import begin_run, finish_run
from tasks.stages.spaces import require_space
from tasks.stages.threads import own_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from latentlake.settings import Settings

RESULTS = Path(__file__).parent / "results" / "sql_nearest.json"
QUERIES, SCANS, K, MOST_MS = 200, 3, 10, 2.0
ASK = "SELECT * FROM nearest('own', {}, 10)"


def indexed(settings: Settings) -> Lake:
    """Return the lake with an index in a snapshot."""
    lake = Lake(settings.root)
    if stored_index(lake, require_space(lake, settings, SPACE), lake.snapshot()):
        return lake
    run = begin_run(lake, "index")
    finish_run(lake, settings, run, [index_space(lake, settings, SPACE, run.run_id)])
    return lake


def median_ms(ask: Callable[[Any], Any], queries: Any) -> float:
    """Return the median time of a question; the first one opens things, and does not count."""
    ask(queries[0])
    times = []
    for query in queries:
        began = time.perf_counter()
        ask(query)
        times.append(1000 * (time.perf_counter() - began))
    return round(float(np.median(times)), 3)


def measure(settings: Settings, lake: Lake) -> dict[str, float]:
    """Ask in every way."""
    own_threads(settings.run.thread_count)
    stored = stored_index(lake, require_space(lake, settings, SPACE))
    assert stored is not None  # noqa: S101
    index, _ = stored
    asked = np.concatenate(list(made_vectors(QUERIES, seed=9)))
    lists = [row.tolist() for row in asked]
    with connect(lake) as connection, connect(lake) as catalog:
        add_nearest(connection, lake, settings)
        found = {"faiss": median_ms(lambda row: index.search(row[None], K), asked)}
        joined = ASK.format("$1") + " JOIN items USING (content_id)"
        found["nearest"] = median_ms(_asking(connection, ASK.format("$1")), lists)
        found["joined"] = median_ms(_asking(connection, joined), lists)
        found["literal"] = median_ms(
            lambda row: connection.execute(ASK.format(row)).fetchall(), lists[:50]
        )
        found["lateral, a row"] = _lateral_ms(connection)
        found["scan"] = median_ms(_asking(catalog, ASK.format("$1")), lists[:SCANS])
    return found


def _asking(connection: duckdb.DuckDBPyConnection, sql: str) -> Callable[[Any], Any]:
    return lambda row: connection.execute(sql, [row]).fetchall()


def _lateral_ms(connection: duckdb.DuckDBPyConnection) -> float:
    rows = "(SELECT vector FROM embeddings_own LIMIT 1000) asking"
    sql = f"SELECT count(*) FROM {rows}, nearest('own', asking.vector, 10)"  # noqa: S608
    began = time.perf_counter()
    (count,) = connection.execute(sql).fetchall()[0]
    assert count == 1000 * K  # noqa: S101
    return round(time.perf_counter() - began, 3)


def main() -> int:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="a lake that is there is taken")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        settings = make_lake(folder, made_vectors(given.rows), 0.9, "6GB")
        found = measure(settings, indexed(settings))
    added = round(found["nearest"] - found["faiss"], 3)
    for name, milliseconds in found.items():
        print(f"{name:16} {milliseconds:10.3f} ms")
    print(f"SQL adds {added} ms (bar {MOST_MS})")
    result = {
        "command": f"python benchmarks/sql_nearest.py --rows {given.rows}",
        "machine": machine_facts(),
        "rows": given.rows,
        "dim": DIM,
        "median_ms": found,
        "added_ms": added,
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    return int(added > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
