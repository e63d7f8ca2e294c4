"""Prefect frames of encoding: one task a group of shards."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect import task

from data.catalog import SpaceRow
from data.shards import ShardReceipt
from latentlake.errors import LatentlakeError
from tasks.frame import TASK_DEFAULTS, collect, open_lake
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.planning import EmbedPlan, ShardGroup, plan_embedding
from tasks.stages.receipts import StageReceipt
from tasks.stages.spaces import find_space, make_space, retrain_space
from tasks.stages.vocabulary import update_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks.parameters import EmbedParameters


@task(name="prepare-space", task_run_name="prepare-{name}", **TASK_DEFAULTS)
def prepare(config: str, name: str, run_id: str, *, retrain: bool = False) -> SpaceRow:
    """Find the space, or make it: load its encoder, or train it."""
    lake, settings = open_lake(config)
    if retrain:
        return retrain_space(lake, settings, name, run_id)
    return find_space(lake, settings, name) or make_space(lake, settings, name, run_id)


@task(name="plan-shards", task_run_name="plan-{space.id.name}", **TASK_DEFAULTS)
def plan(config: str, space: SpaceRow) -> EmbedPlan:
    """Plan the shards that the space lacks."""
    lake, settings = open_lake(config)
    return plan_embedding(lake, settings, space)


@task(name="encode-shards", task_run_name="encode-{space.id.name}-{group.first}", **TASK_DEFAULTS)
def encode(config: str, space: SpaceRow, group: ShardGroup) -> tuple[ShardReceipt, ...]:
    """Encode a group of shards; safe to repeat, finished shards are passed over."""
    lake, settings = open_lake(config)
    return encode_group(lake, settings, space, group)


@task(name="commit-shards", task_run_name="commit-{space.id.name}", **TASK_DEFAULTS)
def commit(
    config: str,
    space: SpaceRow,
    planned: EmbedPlan,
    encoded: list[tuple[ShardReceipt, ...]],
    run_id: str,
) -> StageReceipt:
    """Register all shards of the plan in one commit."""
    lake, _ = open_lake(config)
    receipts = [receipt for group in encoded for receipt in group]
    return commit_embedding(lake, space, planned, receipts, run_id)


@task(name="make-vocabulary", task_run_name="words-{space.id.name}", **TASK_DEFAULTS)
def vocabulary(config: str, space: SpaceRow, run_id: str) -> StageReceipt | None:
    """Bring the space of an encoder's words up to date; None where there is nothing to do."""
    lake, settings = open_lake(config)
    return update_vocabulary(lake, settings, space, run_id)


def embed_spaces(parameters: EmbedParameters, run_id: str) -> list[StageReceipt]:
    """Bring the chosen spaces' vectors up to date."""
    _, settings = open_lake(parameters.config)
    names = [settings.space(name).name for name in parameters.spaces] or [
        space.name for space in settings.spaces
    ]
    texts = {space.vocabulary_name: space.name for space in settings.spaces}
    return [
        receipt
        for name in dict.fromkeys(texts.get(name, name) for name in names)
        for receipt in _embed_space(parameters.config, name, run_id, retrain=parameters.retrain)
    ]


def _embed_space(config: str, name: str, run_id: str, *, retrain: bool) -> Iterator[StageReceipt]:
    began = time.monotonic()
    try:
        space = prepare.submit(config, name, run_id, retrain=retrain).result()
        planned = plan.submit(config, space).result()
        # Each task uses all threads itself, so groups follow one another.
        encoded = [encode.submit(config, space, group).result() for group in planned.groups]
    except LatentlakeError as error:
        yield StageReceipt("embed", name, changed=False, error=str(error))
        return
    receipt = collect("embed", name, commit.submit(config, space, planned, encoded, run_id))
    yield replace(receipt, seconds=time.monotonic() - began)
    words = collect("embed", name, vocabulary.submit(config, space, run_id))
    if words is not None:
        yield words
