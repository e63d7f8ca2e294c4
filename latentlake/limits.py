"""The table `[limits]`: what a run may take of the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, TypeAdapter, field_validator

LEAST_MEMORY: Final = 256_000_000
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
_BYTES: Final[TypeAdapter[ByteSize]] = TypeAdapter(ByteSize)


def _as_size(value: object) -> object:
    """Read "4GB" as 4e9 bytes."""
    if value == "auto":
        return value
    size = _BYTES.validate_python(value)
    if size < LEAST_MEMORY:
        message = f"{value} is less than {LEAST_MEMORY // 10**6}MB, which every stage needs"
        raise ValueError(message)
    return int(size)


class LimitSettings(BaseModel):
    """What a run may take of the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: int | Literal["auto"] = Field(
        "auto",
        description="What a stage may hold of data, such as '4GB': libraries and models come on "
        "top. 'auto' is half of the machine's memory; at least 256MB.",
    )

    _read_size = field_validator("memory", mode="before")(_as_size)

    @property
    def memory_bytes(self) -> int:
        """The memory limit as a number."""
        if self.memory != "auto":
            return self.memory
        return max(LEAST_MEMORY, _machine_memory() // 2)


def _machine_memory() -> int:
    """Return the memory of this machine, or of its container where that has less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text("ascii")))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return physical
