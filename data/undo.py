"""Stages whose commits to several tables stand together or not at all.

A Delta commit is atomic for one table, and most stages commit to several. So a stage first notes
the version of every table in `undo.json`, and removes the note when its last commit stands. A note
that is found by somebody else is that of a stage that died: the tables go back to those versions
before anything else is written or published, and the stage is done again.

There is one writer (`data.locking`), so whatever was committed since the note is the dead stage's.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from deltalake import DeltaTable

from data.disk import writing_to
from data.storage import replacing, sync
from latentlake.commit_points import reach
from latentlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from data.lake import Lake

logger = logging.getLogger(__name__)
NOTE_NAME: Final = "undo.json"
_under_way: set[Path] = set()


@contextmanager
def whole_or_undone(lake: Lake, stage: str) -> Iterator[None]:
    """Let all commits inside the block stand together.

    If the block raises they are taken back at once; if the process dies, by the next writer.

    Args:
        lake: the lake that is written to.
        stage: for the log, e.g. "ingest photos".

    Raises:
        RuntimeError: inside or beside another such block, whose commits this one would take back.
    """
    if lake.root in _under_way:
        raise RuntimeError(f"{lake.root}: {stage} begins while another stage is under way")
    undo_unfinished(lake)
    note = {"stage": stage, "versions": lake.versions()}
    with replacing(lake.root / NOTE_NAME, "undo note") as temporary:
        temporary.write_text(json.dumps(note, indent=1), "utf-8")
    _under_way.add(lake.root)
    try:
        yield
    except BaseException:
        _try_to_undo(lake)
        raise
    finally:
        _under_way.discard(lake.root)
    _forget(lake)
    reach("stage ended")


def undo_unfinished(lake: Lake) -> str | None:
    """Take back what a stage committed before it died.

    Safe to repeat: killed in between, it is done again.

    Returns:
        The stage, or None if none was unfinished.

    Raises:
        LakeError: the note is not readable, or names a version that is gone.
    """
    path = lake.root / NOTE_NAME
    try:
        note: dict[str, Any] = json.loads(path.read_text("utf-8"))
        stage, versions = str(note["stage"]), dict(note["versions"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LakeError(f"{path}: not readable as a note of ours ({error}).") from None
    for folder, version in lake.versions().items():
        # A table that the stage made has its empty first version to go back to.
        goal = versions.get(folder, 0)
        if version != goal:
            with writing_to(lake.root / folder):
                DeltaTable(str(lake.root / folder)).restore(goal)
            reach("table restored")
    _forget(lake)
    logger.info("unfinished stage undone", extra={"stage": stage})
    reach("stage undone")
    return stage


def _try_to_undo(lake: Lake) -> None:
    """Undo after an error; on a full disk that fails too, and is then left to the next writer."""
    try:
        undo_unfinished(lake)
    except Exception:  # noqa: BLE001  the first error is the one to tell
        logger.warning("%s: an unfinished stage could not be undone yet", lake.root)


def _forget(lake: Lake) -> None:
    (lake.root / NOTE_NAME).unlink()
    sync(lake.root)
