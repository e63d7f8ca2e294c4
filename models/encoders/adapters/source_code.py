"""What tells one state of a user's code from another, without running it."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from latentlake.errors import ConfigError


def code_digest(module: str) -> str:
    """Digest the file that a module is read from; hex SHA-256. Packages around it are imported.

    Raises:
        ConfigError: there is no such module.
    """
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ConfigError(
            f"no module '{module}': install its package into this environment, or name its folder "
            "in PYTHONPATH."
        )
    origin = Path(found.origin) if found.origin else None
    if origin is None or not origin.is_file():  # built in, or a namespace
        return hashlib.sha256(module.encode()).hexdigest()
    return hashlib.sha256(origin.read_bytes()).hexdigest()
