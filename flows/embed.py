"""The flow `embed`: encode what the spaces lack."""

from __future__ import annotations

from prefect import flow

from tasks.embed import embed_spaces
from tasks.parameters import EmbedParameters
from tasks.run import conclude, one_run
from tasks.stages.receipts import StageReceipt


@flow(name="embed")
def embed(parameters: EmbedParameters) -> list[StageReceipt]:
    """Bring every space's vectors up to date with its items."""
    if parameters.run_id:
        return embed_spaces(parameters, parameters.run_id)
    with one_run(parameters, "embed") as run:
        receipts = embed_spaces(parameters, run.run_id)
        return list(conclude(parameters.config, run, receipts).receipts)
