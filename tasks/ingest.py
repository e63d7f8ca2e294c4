"""Prefect frames of ingestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task

from tasks.frame import TASK_DEFAULTS, collect, open_lake
from tasks.stages.ingesting import ingest_source
from tasks.stages.receipts import StageReceipt

if TYPE_CHECKING:
    from tasks.parameters import IngestParameters


@task(name="ingest-source", task_run_name="ingest-{source}", **TASK_DEFAULTS)
def ingest_one(config: str, source: str, run_id: str) -> StageReceipt:
    """Bring the items of one source up to date."""
    lake, settings = open_lake(config)
    return ingest_source(lake, settings, source, run_id)


def ingest_sources(parameters: IngestParameters, run_id: str) -> list[StageReceipt]:
    """Ingest the chosen sources one after the other; each uses all threads itself."""
    _, settings = open_lake(parameters.config)
    names = [settings.source(name).name for name in parameters.sources] or [
        source.name for source in settings.sources
    ]
    return [
        collect("ingest", name, ingest_one.submit(parameters.config, name, run_id))
        for name in names
    ]
