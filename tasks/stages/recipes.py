"""From a configured space to its encoder: what is loaded, and what tells one state from another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.content import content_id
from data.stores.copies import cache_folder
from models.encoders.base import EncoderSpec
from models.encoders.registry import find_encoder

if TYPE_CHECKING:
    from data.lake import Lake
    from latentlake.settings import Settings, SpaceSettings


def encoder_spec(
    lake: Lake, settings: Settings, encoder: str, options: str, artefact: str | None
) -> EncoderSpec:
    """Return the recipe of a live encoder on this machine."""
    return EncoderSpec(
        name=encoder,
        options=json.dumps(with_places(settings, json.loads(options)), sort_keys=True),
        device=settings.run.device,
        artefact=str(lake.store.local_folder(artefact)) if artefact else None,
        threads=settings.run.thread_count,
        engine=settings.run.engine,
        cache=str(cache_folder()),
    )


def with_places(settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    """Make the path in an encoder's options absolute: it is relative to the configuration."""
    path = options.get("path")
    return options if path is None else options | {"path": settings.resolve(str(path))}


def encoder_recipe(settings: Settings, space: SpaceSettings) -> str:
    """Name what decides the vectors, cheaply; weights in a folder by their files' sizes and times.

    A trained encoder has read its path for good: what has become of it since does not count.
    """
    entry = find_encoder(space.encoder)
    path = space.options.get("path")
    if path is None or entry.trainable:
        return entry.recipe()
    folder = Path(settings.resolve(str(path)))
    files = sorted(file for file in (folder, *folder.rglob("*")) if file.is_file())
    stamps = [(str(file.relative_to(folder)), *_stamp(file)) for file in files]
    return f"{entry.recipe()} files={content_id(json.dumps(stamps))[:16]}"


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
