"""What is kept from stage to stage is the last thing, under its own key, if it is small."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest

from latentlake.errors import LakeError
from tasks.stages.held import Held
from tasks.stages.spaces import known_space, space_vectors
from tasks.stages.stored_graph import stored_graph
from tests.tasks.stages.test_own_vectors import Own, clustered, named

if TYPE_CHECKING:
    from pathlib import Path


def test_only_the_last_small_thing_is_kept_and_only_for_its_key() -> None:
    held: Held[str] = Held()
    assert held.get(("lake", "a")) is None
    held.put(("lake", "a"), "first", 10)
    assert held.get(("lake", "a")) == "first"
    assert held.get(("lake", "b")) is None
    held.put(("lake", "b"), "second", 64 * 2**20)
    assert (held.get(("lake", "a")), held.get(("lake", "b"))) == (None, "second")
    held.put(("lake", "c"), "large", 64 * 2**20 + 1)
    assert (held.get(("lake", "b")), held.get(("lake", "c"))) == (None, None)


def test_a_held_graph_is_not_handed_to_another_model(tmp_path: Path) -> None:
    own = Own(tmp_path / "own")
    own.configure()
    for rows in (140, 150):  # a graph that is brought up to date is held, a first one is not
        own.put(named(clustered()[:rows]))
        own.run()
    space = known_space(own.lake, "own")
    vectors = space_vectors(own.lake, own.settings, space)
    # Nothing says any more whose the stored lists are, but that this process has made them.
    builds = own.lake.read("builds", where=pc.field("stage") == "graph")
    own.lake.delete("builds", builds.select(["space", "stage"]), "forgotten")
    assert stored_graph(own.lake, space, vectors).rows.shape == (150, 5)
    other = replace(space, id=replace(space.id, fingerprint="f" * len(space.id.fingerprint)))
    with pytest.raises(LakeError, match="graph is not of these vectors"):
        stored_graph(own.lake, other, vectors)
