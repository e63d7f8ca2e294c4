"""Prefect frames of encoding: one task a group of shards."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect import task

from data.catalog import SpaceRow
from data.shards import ShardReceipt
from latentlake.errors import LatentlakeError
from latentlake.settings import vocabulary_name
from tasks.frame import TASK_DEFAULTS, collect, open_lake
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.planning import EmbedPlan, ShardGroup, plan_embedding
from tasks.stages.receipts import StageReceipt
from tasks.stages.versions import prepare_versions
from tasks.stages.vocabulary import update_vocabulary

if TYPE_CHECKING:
    from tasks.parameters import EmbedParameters


@task(name="prepare-space", task_run_name="prepare-{name}", **TASK_DEFAULTS)
def prepare(config: str, name: str, run_id: str, *, retrain: bool = False) -> list[SpaceRow]:
    """Find the space's versions to fill, or make one: load its encoder, or train it."""
    lake, settings = open_lake(config)
    return prepare_versions(lake, settings, name, run_id, retrain=retrain)


@task(name="plan-shards", task_run_name="plan-{space.label}", **TASK_DEFAULTS)
def plan(config: str, space: SpaceRow) -> EmbedPlan:
    """Plan the shards that the space lacks."""
    lake, settings = open_lake(config)
    return plan_embedding(lake, settings, space)


@task(name="encode-shards", task_run_name="encode-{space.label}-{group.first}", **TASK_DEFAULTS)
def encode(config: str, space: SpaceRow, group: ShardGroup) -> tuple[ShardReceipt, ...]:
    """Encode a group of shards; safe to repeat, finished shards are passed over."""
    lake, settings = open_lake(config)
    return encode_group(lake, settings, space, group)


@task(name="commit-shards", task_run_name="commit-{space.label}", **TASK_DEFAULTS)
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


@task(name="make-vocabulary", task_run_name="words-{space.label}", **TASK_DEFAULTS)
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
        for receipt in _embed_versions(parameters.config, name, run_id, retrain=parameters.retrain)
    ]


def _embed_versions(config: str, name: str, run_id: str, *, retrain: bool) -> list[StageReceipt]:
    began = time.monotonic()
    try:
        spaces = prepare.submit(config, name, run_id, retrain=retrain).result()
    except LatentlakeError as error:
        return [StageReceipt("embed", name, changed=False, error=str(error))]
    prepared_s = time.monotonic() - began
    receipts = [_embed_space(config, space, run_id) for space in spaces]
    receipts += _make_words(config, spaces, run_id)
    first = replace(receipts[0], seconds=receipts[0].seconds + prepared_s)
    return [first, *receipts[1:]]


def _embed_space(config: str, space: SpaceRow, run_id: str) -> StageReceipt:
    began, name = time.monotonic(), space.label
    try:
        planned = plan.submit(config, space).result()
        # Each task uses all threads itself, so groups follow one another.
        encoded = [encode.submit(config, space, group).result() for group in planned.groups]
    except LatentlakeError as error:
        return StageReceipt("embed", name, changed=False, error=str(error))
    receipt = collect("embed", name, commit.submit(config, space, planned, encoded, run_id))
    return replace(receipt, seconds=time.monotonic() - began)


def _make_words(config: str, spaces: list[SpaceRow], run_id: str) -> list[StageReceipt]:
    made = (
        collect("embed", vocabulary_name(space.label), vocabulary.submit(config, space, run_id))
        for space in spaces
    )
    return [receipt for receipt in made if receipt is not None]
