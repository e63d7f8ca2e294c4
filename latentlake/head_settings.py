"""The setting `reduce` of a space: how its vectors are shortened."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

SAMPLE: Final = 20_000


class ReduceSettings(BaseModel):
    """Principal components in place of the encoder's own dimensions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pca: PositiveInt = Field(description="How many principal components are kept.")
    whiten: bool = Field(
        default=False, description="Scale each component to variance 1, so that all count alike."
    )
    sample: PositiveInt = Field(
        SAMPLE,
        ge=20,
        description="Contents that the mean and the components are computed from; a tenth of them "
        "is held back to measure what is lost.",
    )
