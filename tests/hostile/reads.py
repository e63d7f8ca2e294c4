"""`python -m tests.hostile.reads PROJECT`: ingest and encode, and print the peak of memory.

A process of its own, so that a crash, a hang or a gigabyte is seen from outside.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tasks.stages.budget import peak_memory_bytes
from tests.tasks.conftest import Project


def main() -> None:
    """Ingest every source, encode every space, make a snapshot."""
    summary = Project(Path(sys.argv[1])).run()
    peak = peak_memory_bytes()
    notes = {receipt.subject: receipt.notes for receipt in summary.receipts}
    print(json.dumps({"peak": peak, "errors": summary.errors, "notes": notes}))


if __name__ == "__main__":
    main()
