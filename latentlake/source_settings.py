"""The table `[[sources]]`: one configured place of items."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
"""Names become table names and folders: lower-case letters, digits and underscores."""

STEM = "{stem}"
"""In `keys`: the name of the .npy file, without its extension."""


class SourceSettings(BaseModel):
    """One configured place of items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="What the source is called in every table.")
    kind: Literal["images", "text", "vectors"] = Field(description="What its items are.")
    uri: str = Field(
        description="A folder (any nesting), a glob, or a file: tar (WebDataset), Parquet, CSV, "
        "JSONL, plain text, Arrow, npy; .gz and .zst too. Relative to latentlake.toml, or an "
        "s3:// URL."
    )
    text: str | None = Field(None, description="The column or JSON key that holds the text.")
    image: str | None = Field(None, description="The Parquet column that holds the image's bytes.")
    vector: str | None = Field(
        None, description="The Parquet or Arrow column that holds the vector: a list of numbers."
    )
    key: str | None = Field(None, description="The column or JSON key that names an item.")
    keys: str | None = Field(
        None,
        description="The file beside an .npy that names its rows: .txt (a key a line) or .npy; "
        "{stem} stands for the name of the .npy without its extension.",
    )
    lines: bool = Field(
        default=True, description="Plain text files: an item a line (true) or a file (false)."
    )
    encoding: str = Field("utf-8", description="The encoding of text files.")

    @field_validator("keys")
    @classmethod
    def _is_beside(cls, keys: str | None) -> str | None:
        if keys is None:
            return None
        if "/" in keys or "\\" in keys or keys.startswith("."):
            message = f"'{keys}' must be the name of a file in the folder of the .npy"
            raise ValueError(message)
        if not keys.endswith((".txt", ".npy")):
            message = f"'{keys}' must end with .txt (a key a line) or .npy"
            raise ValueError(message)
        if keys == f"{STEM}.npy":
            message = f"'{keys}' is the .npy itself; call it '{STEM}.keys.npy', for example"
            raise ValueError(message)
        return keys
