"""Writers in processes of their own: `python -m tests.s3.committer ROOT COUNT [--locked] [--runs]`.

Each adds an item (or a run) and commits a snapshot. They are forked before a thread has started.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import nullcontext

from data.lake import Lake, table_of
from data.schemas import TABLES
from tasks.stages.runs import writing


def commit(root: str, number: int, options: set[str]) -> None:
    lake = Lake(root)
    run_id, table = f"run{number}", "runs" if "--runs" in options else "items"
    row = {"item_id": f"i{number}", "first_run": run_id, "deleted": False, "run_id": run_id}
    columns = TABLES[table].columns.names
    rows = table_of(table, [{name: row[name] for name in columns if name in row}])
    with writing(lake, "ingest") if "--locked" in options else nullcontext():
        lake.upsert(table, rows, run_id)
        lake.commit_snapshot(run_id)


def main(root: str, count: int, options: set[str]) -> int:
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            try:
                commit(root, number, options)
            except BaseException:  # noqa: BLE001  the child's last words
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), set(sys.argv[3:])))
