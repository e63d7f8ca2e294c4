"""`[spaces.duplicates]`: what counts as a near-duplicate, and how sure that must be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from latentlake.names import Rule


class DuplicateSettings(BaseModel):
    """What counts as a near-duplicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: Annotated[float, Field(allow_inf_nan=False)] | Literal["auto"] | None = Field(
        None,
        description="The least score of two near-duplicates. Verified photos: default .48. Else "
        "the similarity in the space's metric: default for cosines .9 (images that are not "
        "verified), .98 (text, vectors), for other metrics none. 'auto' is what 'latentlake "
        "duplicates calibrate' chose for this version of the space.",
    )
    verify: bool = Field(
        default=True,
        description="Compare likely near-duplicates among photos by their pixels, too.",
    )
    lexical: Literal[False] | Annotated[float, Field(strict=True, ge=0.5, le=1)] = Field(
        0.8,
        description="The least share of common word triples (Jaccard) of two texts that repeat "
        "each other; false compares texts by vectors and bytes only.",
    )
    rule: Rule = Field(
        "greedy-cover",
        description="Who stays: 'greedy-cover' by the order keep, each removed one with its "
        "nearest twin; 'components' the same, each with the first of its group; 'first-seen' by "
        "when items came, whoever was kept stays.",
    )
    keep: str = Field(
        "width*height desc, text_length desc, size_bytes desc, uri asc",
        description="SQL order over the items' columns: which of several duplicates is kept.",
    )
    audit: NonNegativeInt = Field(
        1000,
        description="Contents that are compared with all others, to measure how many pairs the "
        "search has missed; 0 for no audit.",
    )
    max_missed: float = Field(
        0.02,
        ge=0,
        le=1,
        description="The share of pairs that may be missed: the less, the harder they are "
        "searched for, and a run fails when the audit's interval lies above it.",
    )
