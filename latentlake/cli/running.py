"""Running flows from the command line: Prefect set up quietly, whatever the folder."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from latentlake.cli.lazy import INTERRUPTED
from latentlake.cli.progress import drawing
from latentlake.cli.summary import Outcome, print_errors, print_outcome
from latentlake.settings import find_config, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from tasks.stages.receipts import StageReceipt
    from tasks.stages.runs import RunSummary

    Flow = Callable[[], RunSummary | list[StageReceipt]]

REFUSED: Final = 1
QUARANTINED: Final = 3
"""Exit status of a run that went well, but for inputs it put into quarantine."""

_PREFECT_DEFAULTS: Final = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
}
"""What [tool.prefect] in pyproject.toml says, for folders where Prefect does not see that file."""

_SHOW_CURSOR: Final = b"\x1b[?25h" if sys.stderr.isatty() else b""
_INTERRUPTION: Final = (
    b"\nlatentlake: interrupted. What was finished is kept: the next run resumes there.\n"
)
_TOLD_ANYWAY: Final = (
    "Encountered exception during execution",
    "Finished in state",
    "Task run failed with",
)
_STAGES: Final = ("ingesting", "embedding", "indexing", "neighbours", "reporting", "runs")


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall seconds of a command that runs a flow.

    Attributes:
        own_imports: until our own stages were imported.
        prefect_imports: until Prefect and the flow were imported.
        flow: the flow's call, from first to last line.
    """

    own_imports: float
    prefect_imports: float
    flow: float

    @property
    def total(self) -> float:
        """Everything together."""
        return self.own_imports + self.prefect_imports + self.flow


def config_path(config: Path | None) -> str:
    """Return the configuration's absolute path, after checking that it is sound.

    A wrong file is refused here, before Prefect takes its seconds, and so is a bucket that is
    missing or closed to us.

    Raises:
        ConfigError: it is missing or wrong.
        StoreError: the lake's root is on S3 and cannot be used.
    """
    path = (config or find_config(Path.cwd())).absolute()
    root = load_settings(path).root
    if "://" in root:
        from data.stores import open_store

        open_store(root)
    return str(path)


def run_flow(
    config: str, load: Callable[[], Flow], *, quiet: bool, verbose: bool
) -> tuple[Outcome, Timing]:
    """Import a flow, call it in this process, and draw its progress.

    Args:
        config: the configuration's path.
        load: imports the flow and returns the call to make; nothing of Prefect is imported before.
        quiet: draw nothing.
        verbose: leave Prefect's log as it is configured.

    Raises:
        LatentlakeError: nothing could be run. A stage that was refused is no reason to raise: it
            stands in the outcome, beside those that went well.
    """
    began = time.monotonic()
    for stage in _STAGES:
        import_module(f"tasks.stages.{stage}")
    own = time.monotonic()
    _prepare_environment(verbose=verbose)
    call = load()
    imported = time.monotonic()
    with interruptible(), _prefect(verbose=verbose), drawing(quiet=quiet):
        outcome = _outcome(config, call)
    return outcome, Timing(own - began, imported - own, time.monotonic() - imported)


def conclude(outcome: Outcome, timing: Timing, *, quiet: bool) -> None:
    """Tell of a run and end the command with its exit status.

    Raises:
        click.exceptions.Exit: 1 if a stage was refused, 3 if inputs went into quarantine.
    """
    if not quiet:
        print_outcome(outcome, timing)
    print_errors(outcome)
    if outcome.errors:
        raise click.exceptions.Exit(REFUSED)
    if outcome.quarantined:
        raise click.exceptions.Exit(QUARANTINED)


def _outcome(config: str, call: Flow) -> Outcome:
    from tasks.stages.runs import RunFailedError, RunSummary

    try:
        returned: RunSummary | list[StageReceipt] = call()
    except RunFailedError as failed:
        returned = failed.summary
    if isinstance(returned, RunSummary):
        own = sum(receipt.seconds for receipt in returned.receipts) + returned.finishing_seconds
        return Outcome(returned.receipts, returned.snapshot, own)
    from data.lake import Lake

    numbers = Lake(load_settings(config).root).snapshots()
    return Outcome(tuple(returned), numbers[-1] if numbers else 0)


def _prepare_environment(*, verbose: bool) -> None:
    """Set defaults that Prefect reads when it is imported; the user's own settings win."""
    for name, value in _PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once.

    Prefect would wait for threads that compute, and then for a server that the same Ctrl-C has
    stopped: 150 s were seen. The lake is whole whenever a process ends, so none of that is needed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a handler
        return
    before = signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
    from prefect.server.api.server import SubprocessASGIServer

    # Not by print: this may have interrupted one.
    os.write(sys.stderr.fileno(), _SHOW_CURSOR + _INTERRUPTION)
    SubprocessASGIServer().stop()
    os._exit(INTERRUPTED)


@contextmanager
def _prefect(*, verbose: bool) -> Iterator[None]:
    """Spare what nobody sees: heartbeats to a server of our own, tracebacks of told refusals."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    loggers = [] if verbose else [logging.getLogger(f"prefect.{n}_runs") for n in ("flow", "task")]
    for logger in loggers:
        logger.addFilter(_is_news)
    # A heartbeat costs a flow 1.1 s (its thread sleeps and is joined), and only a server that
    # outlives this process has any use for it.
    is_ephemeral = not PREFECT_API_URL.value()
    spared = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if is_ephemeral else {}
    try:
        with temporary_settings(spared):
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop what the command itself is going to say: an exception that ends it, once a level."""
    message = record.getMessage()
    return not message.startswith(_TOLD_ANYWAY) or "will start" in message
