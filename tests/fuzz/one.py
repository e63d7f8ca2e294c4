"""`python -m tests.fuzz.one TARGET [libFuzzer's options and corpus folders]`: fuzz one target."""

from __future__ import annotations

import sys

import atheris

# Only what is imported inside this block is instrumented, and so guides the mutations.
with atheris.instrument_imports(include=["data", "models", "latentlake", "PIL", "csv", "tarfile"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Hand the target to libFuzzer, which never returns."""
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
