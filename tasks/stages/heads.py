"""A space's linear head: fitted once on a sample of its contents, and kept beside its encoder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from latentlake.errors import BadInputError, ConfigError
from latentlake.head_settings import SAMPLE
from latentlake.progress import report_progress
from models.encoders.head import write_head
from models.encoders.head_fitting import MATRICES, HeadPlan, fit_head
from models.types import Metric
from tasks.stages.budget import working_on
from tasks.stages.contents import ContentReader, refs_of, view_first_places
from tasks.stages.preparing import prepared_contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.workspace import Workspace
    from latentlake.settings import Settings, SpaceSettings
    from models.encoders.base import Encoder
    from models.types import Matrix
    from tasks.stages.contents import ContentRef, Load

HEAD_FOLDER: Final = "head"
"""Where in a space's artefact the head lies."""

_MARK: Final = " head="


def head_recipe(space: SpaceSettings) -> str:
    """Return what a space's recipe says of its head, behind its encoder's; "" where it has none."""
    if space.reduce is None and space.centre is not True and not space.normalise:
        return ""
    wanted = space.model_dump(mode="json", include={"reduce", "centre", "normalise"})
    return f"{_MARK}{json.dumps(wanted, sort_keys=True)}"


def without_head(recipe: str) -> str:
    """Return a space's recipe without its head."""
    return recipe.partition(_MARK)[0]


def head_settings(recipe: str) -> dict[str, Any]:
    """Return the settings of the head in a space's recipe: the defaults where it has none."""
    wanted = recipe.partition(_MARK)[2]
    plain: dict[str, Any] = {"reduce": None, "centre": "auto", "normalise": False}
    return plain | json.loads(wanted) if wanted else plain


def has_head(recipe: str) -> bool:
    """Tell whether the vectors of a space of this recipe go through a head."""
    return _MARK in recipe


def fit_space_head(
    lake: Lake, settings: Settings, name: str, encoder: Encoder[Any, Any], folder: Path
) -> None:
    """Fit a space's head on a sample of its sources' contents, and write it.

    The sample is the contents whose ids come first: ids are hashes, so that is a random choice, and
    the same one on every machine. They are encoded in order of place, as each file is read once.

    Args:
        lake: where the items are.
        settings: the sources, and what the space wants.
        name: the space.
        encoder: the space's, before any head.
        folder: where the head goes; it must not be there.

    Raises:
        ConfigError: the sample is too small, too many components, too many dimensions for memory.
    """
    configured = settings.space(name)
    plan = _plan(configured, encoder.metric)
    needed, limit = MATRICES * 8 * encoder.dim**2, settings.limits.memory_bytes
    if plan.pca is not None and needed > limit // 2:
        raise ConfigError(
            f"space '{name}': principal components of {encoder.dim} dimensions take "
            f"{needed // 10**6} MB, more than half of limits.memory ({limit // 10**6} MB): raise "
            "it."
        )
    with working_on(lake, settings, f"head-{name}") as work:
        _view_sample(work, lake, configured)
        batches = _encoded(encoder, settings, work, name)
        try:
            head = fit_head(batches, encoder.dim, plan)
        except ConfigError as error:
            raise ConfigError(f"space '{name}': {error}") from error
    write_head(folder, head)


def head_notes(lake: Lake, space: SpaceRow, run_id: str) -> tuple[str, ...]:
    """Return, in the run that made a space, what its head was fitted on and what it loses."""
    if not has_head(space.recipe):
        return ()
    mine = (pc.field("space") == space.id.name) & (pc.field("fingerprint") == space.id.fingerprint)
    (row,) = lake.read("spaces", where=mine, columns=["details", "run_id"]).to_pylist()
    found = json.loads(row["details"])["head"]
    if row["run_id"] != run_id or found["pca"] is None:
        return ()
    fitted = f"fitted on {found['fitted']:,} contents"
    note = f"{found['input_dim']} dimensions reduced to {found['dim']}, {fitted}"
    if found["lost"] is not None:
        what = "variance" if found["centre"] else "squared length"
        note += f"; {found['lost']:.2%} of the {what} of {found['held_back']:,} others is lost"
    if found["floored"]:
        note += f"; {found['floored']} components have next to no variance, and stay small"
    return (note,)


def _plan(space: SpaceSettings, metric: Metric) -> HeadPlan:
    """Say what the head does; 'auto' centres only where that leaves the metric's neighbours alone.

    Distances do not change when all vectors move. Angles and products do: docs/decisions/0016.
    """
    reduce, centre = space.reduce, space.centre
    if centre == "auto":
        centre = reduce is not None and metric is Metric.L2
    if reduce is None:
        return HeadPlan(centre, normalise=space.normalise)
    return HeadPlan(centre, reduce.pca, reduce.whiten, space.normalise)


def _sample_rows(space: SpaceSettings) -> int:
    return SAMPLE if space.reduce is None else space.reduce.sample


def _view_sample(work: Workspace, lake: Lake, space: SpaceSettings) -> None:
    view_first_places(work, lake, space.sources)
    work.execute(
        f"""CREATE TABLE sampled AS FROM first_places
        ORDER BY content_id LIMIT {_sample_rows(space)}"""
    )


def _encoded(
    encoder: Encoder[Any, Any], settings: Settings, work: Workspace, name: str
) -> Iterator[Matrix]:
    total = work.count("sampled")
    batch: list[Any] = []
    payloads = _payloads(settings, work)
    contents = prepared_contents(encoder, settings, payloads, encoder.batch_size)
    for done, (_, prepared) in enumerate(contents, 1):
        if not isinstance(prepared, BadInputError):  # gone since, or refused: embed tells of it
            batch.append(prepared)
        if len(batch) == encoder.batch_size:
            yield encoder.encode(batch)
            batch = []
            report_progress(f"train {name}: head", done, total, "contents")
    if batch:
        yield encoder.encode(batch)
        report_progress(f"train {name}: head", total, total, "contents")


def _payloads(settings: Settings, work: Workspace) -> Iterator[tuple[ContentRef, Load]]:
    reader = ContentReader(settings)
    for found in work.stream("FROM sampled ORDER BY source, file, position, key"):
        yield from reader.payloads(list(refs_of(found)))
