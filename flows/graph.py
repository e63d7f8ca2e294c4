"""The flow `graph`: link every content with its nearest neighbours."""

from __future__ import annotations

from prefect import flow

from tasks.graph import link_spaces
from tasks.parameters import SpaceParameters
from tasks.run import conclude, one_run
from tasks.stages.receipts import StageReceipt


@flow(name="graph")
def graph(parameters: SpaceParameters) -> list[StageReceipt]:
    """Bring every space's neighbour graph up to date with its vectors."""
    if parameters.run_id:
        return link_spaces(parameters, parameters.run_id)
    with one_run(parameters, "graph") as run:
        receipts = link_spaces(parameters, run.run_id)
        return list(conclude(parameters.config, run, receipts).receipts)
