"""The flow `ingest`: find what is new, changed, moved or gone in the sources."""

from __future__ import annotations

from prefect import flow

from tasks.ingest import ingest_sources
from tasks.parameters import IngestParameters
from tasks.run import conclude, one_run
from tasks.stages.receipts import StageReceipt


@flow(name="ingest")
def ingest(parameters: IngestParameters) -> list[StageReceipt]:
    """Bring items and quarantine up to date with the sources."""
    if parameters.run_id:
        return ingest_sources(parameters, parameters.run_id)
    with one_run(parameters, "ingest") as run:
        receipts = ingest_sources(parameters, run.run_id)
        return list(conclude(parameters.config, run, receipts).receipts)
