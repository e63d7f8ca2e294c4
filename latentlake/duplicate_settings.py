"""`duplicates` of a space in latentlake.toml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DuplicateSettings(BaseModel):
    """What counts as a near-duplicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float | None = Field(
        None,
        allow_inf_nan=False,
        description="The least score of two near-duplicates. Verified photos: default .45. Else "
        "the similarity in the space's metric: default for cosines .9 (images that are not "
        "verified), .98 (text, vectors), for other metrics none.",
    )
    verify: bool = Field(
        default=True,
        description="Compare likely near-duplicates among photos by their pixels, too.",
    )
    keep: str = Field(
        "width*height desc, text_length desc, size_bytes desc, uri asc",
        description="SQL order over the items' columns: which of several duplicates is kept.",
    )
