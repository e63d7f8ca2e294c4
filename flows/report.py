"""The flow `report`: duplicates, clusters and anomalies."""

from __future__ import annotations

from prefect import flow

from tasks.parameters import ReportParameters
from tasks.report import report_spaces
from tasks.run import conclude, one_run
from tasks.stages.receipts import StageReceipt


@flow(name="report")
def report(parameters: ReportParameters) -> list[StageReceipt]:
    """Bring the reports up to date with vectors, graph and items."""
    if parameters.run_id:
        return report_spaces(parameters, parameters.run_id)
    with one_run(parameters, "report") as run:
        receipts = report_spaces(parameters, run.run_id)
        return list(conclude(parameters.config, run, receipts).receipts)
