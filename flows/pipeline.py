"""The flow `pipeline`: all stages in order, each as a subflow, then one snapshot."""

from __future__ import annotations

from prefect import flow

from flows.embed import embed
from flows.graph import graph
from flows.index import index
from flows.ingest import ingest
from flows.report import report
from tasks.parameters import PipelineParameters
from tasks.run import conclude, one_run
from tasks.stages.runs import RunSummary


@flow(name="pipeline")
def pipeline(parameters: PipelineParameters) -> RunSummary:
    """Ingest, embed, index, link, report; then make the lake's new state visible in one step."""
    with one_run(parameters, "pipeline") as run:
        receipts = [
            *ingest(parameters.ingest(run.run_id)),
            *embed(parameters.embed(run.run_id)),
            *index(parameters.space(run.run_id)),
            *graph(parameters.space(run.run_id)),
            *report(parameters.report(run.run_id)),
        ]
        return conclude(parameters.config, run, receipts)
