"""What of a space is fitted in the lake: its encoder where that is trained, and its head."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.content import content_id
from latentlake.errors import BadInputError
from latentlake.progress import report_progress
from models.encoders.options import options_json
from models.encoders.registry import find_encoder, load_encoder, parse_options
from tasks.stages.budget import working_on
from tasks.stages.contents import ContentReader, item_of, refs_of, view_first_places
from tasks.stages.heads import HEAD_FOLDER, fit_space_head, head_recipe
from tasks.stages.recipes import encoder_spec, with_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from latentlake.settings import Settings
    from models.encoders.base import Encoder


def fit_space(lake: Lake, settings: Settings, name: str, before: SpaceRow | None) -> str:
    """Fit what a space's settings want fitted, on what its sources hold now.

    Args:
        lake: where it is kept, and the items are.
        settings: what the space is to be.
        name: the space.
        before: a space of the same encoder, whose trained model is taken over; None trains.

    Returns:
        The artefact's folder in the lake: the encoder's files, and in `head` those of the head.
    """
    configured = settings.space(name)
    trainable = find_encoder(configured.encoder).trainable
    with lake.store.scratch(f"models/{name}/_training") as work:
        if trainable and before is not None and before.artefact is not None:
            _take_over(lake.store.local_folder(before.artefact), work)
        elif trainable:
            _train(lake, settings, name, work)
        if head_recipe(configured):
            encoder = _unheaded(lake, settings, name, work if trainable else None)
            fit_space_head(lake, settings, name, encoder, work / HEAD_FOLDER)
        made = (path for path in sorted(work.rglob("*")) if path.is_file())
        digest = content_id("".join(content_id(path.read_bytes()) for path in made))[:16]
        final = f"models/{name}/{digest}"
        lake.store.publish(work, final, "model")
    return final


def _train(lake: Lake, settings: Settings, name: str, work: Path) -> None:
    configured = settings.space(name)
    options = with_places(settings, configured.options)
    find_encoder(configured.encoder).load_type().train(
        _contents(lake, settings, name),
        parse_options(configured.encoder, options),
        work,
        lambda step, done: report_progress(f"train {name}: {step}", int(100 * done), 100, "%"),
    )


def _take_over(trained: Path, work: Path) -> None:
    """Copy a trained encoder without its head."""
    shutil.copytree(
        trained,
        work,
        dirs_exist_ok=True,
        ignore=lambda folder, _: {HEAD_FOLDER} if Path(folder) == trained else set(),
    )


def _unheaded(lake: Lake, settings: Settings, name: str, trained: Path | None) -> Encoder[Any, Any]:
    """Return a space's encoder without its head; one that was trained a moment ago is not kept.

    The folder in which it was trained has no name yet, so the cache of encoders may not know it.
    """
    configured = settings.space(name)
    options = options_json(parse_options(configured.encoder, configured.options))
    spec = encoder_spec(lake, settings, configured.encoder, options, None)
    if trained is None:
        return load_encoder(spec)
    entry = find_encoder(configured.encoder)
    return entry.load_type().load(replace(spec, artefact=str(trained)))


def _contents(lake: Lake, settings: Settings, name: str) -> Iterator[Any]:
    """Yield the contents of a space's sources, as an encoder takes them, in order of place."""
    reader = ContentReader(settings)
    with working_on(lake, settings, f"train-{name}") as work:
        view_first_places(work, lake, settings.space(name).sources)
        for batch in work.stream("FROM first_places ORDER BY source, file, position, key"):
            for _, load in reader.payloads(list(refs_of(batch))):
                try:
                    yield item_of(load())
                except BadInputError:  # gone since (the next ingest sorts it out), or no picture
                    continue
