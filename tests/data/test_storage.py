"""Whole files or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data.storage import create_exclusively, replacing

if TYPE_CHECKING:
    from pathlib import Path


def test_replacing_leaves_the_old_file_when_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with replacing(path) as temporary:
        temporary.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("new")
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  our own, without a message
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_create_exclusively_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "one"
    assert create_exclusively(path, b"first")
    assert not create_exclusively(path, b"second")
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["one"]
