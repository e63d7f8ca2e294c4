"""Put the stand-ins where the libraries would be, and take them away again."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = {"timm": "1.0.31", "torchvision": "0.29.2", "open_clip_torch": "3.3.0"}
MODULES = ("timm", "torchvision", "open_clip")


@contextmanager
def standins(scratch: Path) -> Iterator[None]:
    """Let `import timm` and the others find the stand-ins, with the versions they stand for.

    Args:
        scratch: an empty folder, for what pip would have noted.
    """
    for name, version in VERSIONS.items():
        about = scratch / f"{name}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    added = [str(Path(__file__).parent), str(scratch)]
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for place in added:
            sys.path.remove(place)
        for module in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
            del sys.modules[module]
        importlib.invalidate_caches()
