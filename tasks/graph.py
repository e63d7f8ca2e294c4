"""Prefect frame of the stage `graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task

from tasks.frame import TASK_DEFAULTS, collect, open_lake
from tasks.stages.neighbours import link_neighbours
from tasks.stages.receipts import StageReceipt
from tasks.stages.versions import embedded_spaces

if TYPE_CHECKING:
    from tasks.parameters import SpaceParameters


@task(name="link-neighbours", task_run_name="graph-{space}", **TASK_DEFAULTS)
def graph_one(config: str, space: str, run_id: str) -> StageReceipt:
    """Rebuild the neighbour graph if the space's vectors have changed."""
    lake, settings = open_lake(config)
    return link_neighbours(lake, settings, space, run_id)


def link_spaces(parameters: SpaceParameters, run_id: str) -> list[StageReceipt]:
    """Bring the chosen spaces' neighbour graphs up to date."""
    lake, settings = open_lake(parameters.config)
    return [
        collect("graph", name, graph_one.submit(parameters.config, name, run_id))
        for name in embedded_spaces(lake, settings, parameters.spaces)
    ]
