"""`python -m tests.fuzz.replay`: what was ever found to break a reader, once more.

In a process of its own, because some of it ended the process (and so would end the tests).
"""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).resolve().parent / "found"


def main() -> None:
    """Read every input and name each before it is read, so that the last name is the culprit."""
    for path in sorted(FOUND.glob("*/*")):
        print(f"{path.parent.name}/{path.name}", flush=True)
        TARGETS[path.parent.name](path.read_bytes())


if __name__ == "__main__":
    main()
