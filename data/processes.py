"""Which process this is, in words by which another process on this machine can tell its death."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process of one boot of one machine; numbers alone are used again.

    Attributes:
        machine: boot and process namespace; empty where the system does not tell.
        number: the process id.
        started: clock ticks from boot to its start.
    """

    machine: str
    number: int
    started: str


def this_process() -> ProcessId:
    """Return this process."""
    return ProcessId(_machine(), os.getpid(), _start_of(os.getpid()) or "")


def is_dead(process: ProcessId) -> bool:
    """Say whether a process has surely ended; False where this machine cannot know."""
    if not process.machine or process.machine != _machine():
        return False
    return _start_of(process.number) != process.started


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        # Containers of one machine share its boot, and number their processes apart.
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_of(number: int) -> str | None:
    """Return when a process started; None if there is none, or only its zombie is left."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text("ascii", "replace").rpartition(")")[2]
    except OSError:
        return None
    state, *rest = fields.split()
    return None if state in "ZX" else rest[18]
