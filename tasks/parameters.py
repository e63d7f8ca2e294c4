"""The parameters of every flow: one model each, whose schema a Prefect server shows as a form."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Report = Literal["duplicates", "clusters", "anomalies"]
ALL_REPORTS: tuple[Report, ...] = ("duplicates", "clusters", "anomalies")


class Parameters(BaseModel):
    """What the parameters of all flows have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: str = Field("latentlake.toml", description="Path of the configuration file.")
    run_id: str | None = Field(
        None, description="The run this flow is a stage of; by default it is a run of its own."
    )
    wait: bool = Field(
        default=True,
        description="Wait while another run writes to the lake; if false, fail at once.",
    )


class IngestParameters(Parameters):
    """Parameters of the flow `ingest`."""

    sources: tuple[str, ...] = Field((), description="Sources to ingest; by default all.")


class SpaceParameters(Parameters):
    """Parameters of the flows `index` and `graph`."""

    spaces: tuple[str, ...] = Field((), description="Spaces to bring up to date; by default all.")


class EmbedParameters(SpaceParameters):
    """Parameters of the flow `embed`."""

    retrain: bool = Field(
        default=False,
        description="Train the encoders anew on the present corpus, and encode all with them.",
    )


class ReportParameters(SpaceParameters):
    """Parameters of the flow `report`."""

    reports: tuple[Report, ...] = Field(ALL_REPORTS, description="Reports to compute.")


class PipelineParameters(ReportParameters):
    """Parameters of the flow `pipeline`."""

    sources: tuple[str, ...] = Field((), description="Sources to ingest; by default all.")

    def ingest(self, run_id: str) -> IngestParameters:
        """Return the parameters of the stage `ingest`."""
        return IngestParameters(config=self.config, run_id=run_id, sources=self.sources)

    def embed(self, run_id: str) -> EmbedParameters:
        """Return the parameters of the stage `embed`."""
        return EmbedParameters(config=self.config, run_id=run_id, spaces=self.spaces)

    def space(self, run_id: str) -> SpaceParameters:
        """Return the parameters of the stages `index` and `graph`."""
        return SpaceParameters(config=self.config, run_id=run_id, spaces=self.spaces)

    def report(self, run_id: str) -> ReportParameters:
        """Return the parameters of the stage `report`."""
        return ReportParameters(
            config=self.config, run_id=run_id, spaces=self.spaces, reports=self.reports
        )
