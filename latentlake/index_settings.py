"""The setting `index` of a space: which search index, and what a query may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class IndexSettings(BaseModel):
    """How a space's search index is chosen; `target_recall` says how good it has to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal[
        "auto",
        "flat",
        "ivf_flat",
        "ivf_sqfp16",
        "ivf_sq8",
        "projected",
        "pq",
        "rabitq",
        "hnsw",
    ] = Field(
        "auto",
        description="The index; 'auto' is exact where that takes milliseconds, else the kind whose "
        "search costs least on a sample of the vectors.",
    )
    latency_ms: PositiveFloat | None = Field(
        None,
        description="What a query may cost, in milliseconds of one core as counted in "
        "models/indexes/work.py; where the recall asks for more, recall gives way.",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="Where searches run; 'cuda' copies 'flat', 'ivf_flat', 'ivf_sqfp16' and "
        "'ivf_sq8' to the first GPU, the processor searches the others.",
    )
