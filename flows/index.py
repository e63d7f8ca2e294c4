"""The flow `index`: build the spaces' search indexes."""

from __future__ import annotations

from prefect import flow

from tasks.index import index_spaces
from tasks.parameters import SpaceParameters
from tasks.run import conclude, one_run
from tasks.stages.receipts import StageReceipt


@flow(name="index")
def index(parameters: SpaceParameters) -> list[StageReceipt]:
    """Bring every space's index up to date with its vectors."""
    if parameters.run_id:
        return index_spaces(parameters, parameters.run_id)
    with one_run(parameters, "index") as run:
        receipts = index_spaces(parameters, run.run_id)
        return list(conclude(parameters.config, run, receipts).receipts)
