"""One server that forks, and the state that an uninterrupted run leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.forks import Attempt, Ended, Forks
from tests.faults.lakes import TEXTS, Sources, state_of
from tests.faults.photo_lakes import ALBUM

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks() as server:
        yield server


class Uninterrupted:
    """Two runs that nobody disturbed, with a change of the sources between them."""

    def __init__(
        self, folder: Any, forks: Forks, root: str = "lake", sources: Sources = TEXTS
    ) -> None:
        project = sources.make(folder, root)
        self.first: Ended = forks.run(Attempt(str(folder)))
        self.built = state_of(project.lake)
        sources.change(project)
        self.second: Ended = forks.run(Attempt(str(folder)))
        self.changed = state_of(project.lake)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Uninterrupted:
    return Uninterrupted(tmp_path_factory.mktemp("uninterrupted") / "project", forks)


@pytest.fixture(scope="session")
def uninterrupted_album(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Uninterrupted:
    folder = tmp_path_factory.mktemp("uninterrupted_album") / "project"
    return Uninterrupted(folder, forks, sources=ALBUM)
