"""Stages whose commits to several tables stand together or not at all.

A Delta commit is atomic for one table, and most stages commit to several. So a stage first notes
the version of every table in `undo.json`, and removes the note when its last commit stands. A note
that is found by somebody else is that of a stage that died: the tables go back to those versions
before anything else is written or published, and the stage is done again.

There is one writer (`data.locking`), so whatever was committed since the note is the dead stage's.
On S3, where a writer may lose its lock without knowing, the note's name carries the lock's epoch
(`data.stores.leases`): a note that comes too late is nobody's.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from data.commits import open_to_write, retrying_call, signed
from data.disk import writing_to
from latentlake.commit_points import reach
from latentlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake

logger = logging.getLogger(__name__)
NOTE_NAME: Final = "undo.json"
_under_way: set[str] = set()


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
    if lake.uri in _under_way:
        raise RuntimeError(f"{lake.uri}: {stage} begins while another stage is under way")
    undo_unfinished(lake)
    note = {"stage": stage, "versions": lake.versions()}
    lake.store.write(_note_name(lake), json.dumps(note, indent=1).encode(), "undo note")
    _under_way.add(lake.uri)
    try:
        yield
    except BaseException:
        _try_to_undo(lake)
        raise
    finally:
        _under_way.discard(lake.uri)
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
    name = _note_name(lake)
    try:
        note: dict[str, Any] = json.loads(lake.store.read(name))
        stage, versions = str(note["stage"]), dict(note["versions"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        place = lake.store.address(name)
        raise LakeError(f"{place}: not readable as a note of ours ({error}).") from None
    for folder, version in lake.versions().items():
        # A table that the stage made has its empty first version to go back to.
        goal = versions.get(folder, 0)
        if version != goal:
            with writing_to(lake.store.address(folder)):
                retrying_call(partial(_restore, lake, folder, goal), folder, lake.uri)
            reach("table restored")
    _forget(lake)
    logger.info("unfinished stage undone", extra={"stage": stage})
    reach("stage undone")
    return stage


def become_writer(lake: Lake) -> None:
    """Undo what the last writer left unfinished; from now on this process's own note counts.

    Raises:
        LakeError: the last note is not readable, or names a version that is gone.
        WriterLostError: another writer has taken over.
    """
    undo_unfinished(lake)
    lake.store.confirm_writer()
    current = _note_name(lake)
    late = [n for n in lake.store.names("") if n.startswith("undo-") and n != current]
    lake.store.delete(late)


def _restore(lake: Lake, folder: str, version: int) -> None:
    table = open_to_write(lake.store, folder)
    if table is not None:
        table.restore(version, commit_properties=signed("undo"))


def _try_to_undo(lake: Lake) -> None:
    """Undo after an error; on a full disk that fails too, and is then left to the next writer."""
    try:
        undo_unfinished(lake)
    except Exception:  # noqa: BLE001  the first error is the one to tell
        logger.warning("%s: an unfinished stage could not be undone yet", lake.uri)


def _forget(lake: Lake) -> None:
    lake.store.delete([_note_name(lake)])


def _note_name(lake: Lake) -> str:
    epoch = lake.store.epoch
    return f"undo-{epoch:09d}.json" if epoch else NOTE_NAME
