"""Prefect frames of the reports: one task a report and a space."""

from __future__ import annotations

from prefect import task

from tasks.frame import TASK_DEFAULTS, collect, open_lake
from tasks.parameters import Report, ReportParameters
from tasks.stages.receipts import StageReceipt
from tasks.stages.reporting import report_space
from tasks.stages.versions import embedded_spaces


@task(name="report-space", task_run_name="{report}-{space}", **TASK_DEFAULTS)
def report_one(config: str, space: str, report: Report, run_id: str) -> StageReceipt:
    """Recompute one report of one space if its inputs have changed."""
    lake, settings = open_lake(config)
    return report_space(lake, settings, space, report, run_id)


def report_spaces(parameters: ReportParameters, run_id: str) -> list[StageReceipt]:
    """Bring the chosen reports of the chosen spaces up to date."""
    lake, settings = open_lake(parameters.config)
    return [
        collect(report, name, report_one.submit(parameters.config, name, report, run_id))
        for name in embedded_spaces(lake, settings, parameters.spaces)
        for report in parameters.reports
    ]
