"""Prefect frame of the stage `index`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task

from tasks.frame import TASK_DEFAULTS, collect, open_lake
from tasks.stages.indexing import index_space
from tasks.stages.receipts import StageReceipt
from tasks.stages.versions import embedded_spaces

if TYPE_CHECKING:
    from tasks.parameters import SpaceParameters


@task(name="index-space", task_run_name="index-{space}", **TASK_DEFAULTS)
def index_one(config: str, space: str, run_id: str) -> StageReceipt:
    """Build a new index version if the space's vectors have changed."""
    lake, settings = open_lake(config)
    return index_space(lake, settings, space, run_id)


def index_spaces(parameters: SpaceParameters, run_id: str) -> list[StageReceipt]:
    """Bring the chosen spaces' indexes up to date."""
    lake, settings = open_lake(parameters.config)
    return [
        collect("index", name, index_one.submit(parameters.config, name, run_id))
        for name in embedded_spaces(lake, settings, parameters.spaces, vocabularies=True)
    ]
