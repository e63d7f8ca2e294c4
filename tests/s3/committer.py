"""Writers in processes of their own: `python -m tests.s3.committer ROOT COUNT [--locked]`.

Each adds an item and commits a snapshot. They are forked before anything has started a thread.
"""

from __future__ import annotations

import os
import sys
import traceback

from data.lake import Lake, table_of
from tasks.stages.runs import writing


def commit(root: str, number: int, *, locked: bool) -> None:
    lake = Lake(root)
    run_id = f"run{number}"
    row = {"item_id": f"i{number}", "first_run": run_id, "deleted": False}
    if locked:
        with writing(lake, "ingest"):
            lake.upsert("items", table_of("items", [row]), run_id)
            lake.commit_snapshot(run_id)
    else:
        lake.upsert("items", table_of("items", [row]), run_id)
        lake.commit_snapshot(run_id)


def main(root: str, count: int, *, locked: bool) -> int:
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            try:
                commit(root, number, locked=locked)
            except BaseException:  # noqa: BLE001  the child's last words
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), locked="--locked" in sys.argv))
