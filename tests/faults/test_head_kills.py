"""A space of one's own vectors behind a head, killed on its way: the same bytes in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.forks import Attempt
from tests.faults.lakes import check_tables_are_sound, orphans, state_of
from tests.tasks.stages.test_own_vectors import Own, clustered, named

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.forks import Forks

HEAD = "reduce = { pca = 5, whiten = true }\nnormalise = true"
POINTS = (
    *("files committed", "model written", "model named", "spaces to commit", "spaces committed"),
    *("plan named", "shard written", "shard named", "shards to commit", "shards committed"),
    *("index named", "neighbours committed", "snapshot written"),
)


def prepared(folder: Path) -> Own:
    made = Own(folder)
    made.configure(more=HEAD)
    made.put(named(clustered()) | {"short": [1.0]})
    return made


def test_a_fitted_head_survives_every_kill(tmp_path: Path, forks: Forks) -> None:
    quiet, killed = prepared(tmp_path / "quiet"), prepared(tmp_path / "killed")
    assert forks.run(Attempt(str(quiet.folder))).codes == (0,)
    for point in POINTS:
        assert forks.run(Attempt(str(killed.folder), point)).was_killed, point
    assert forks.run(Attempt(str(killed.folder))).codes == (0,)
    expected, found = state_of(quiet.lake), state_of(killed.lake)
    assert found.keys() == expected.keys()
    for name, rows in found.items():
        assert rows == expected[name], name
    assert len(found["vectors"]["own"]) == 150
    assert orphans(killed.lake) == []
    check_tables_are_sound(killed.lake)
