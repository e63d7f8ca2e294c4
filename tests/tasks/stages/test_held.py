"""What is kept from stage to stage is the last thing, under its own key, if it is small."""

from __future__ import annotations

from tasks.stages.held import Held


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
