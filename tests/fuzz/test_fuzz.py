"""The fuzz targets without atheris: seeds, mutations of these, and all that was ever found."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.replay import FOUND
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
MUTATIONS = 150


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat or overwrite a few bytes."""
    content = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content) + 1)
        match chance.randrange(4):
            case 0 if at < len(content):
                content[at] ^= 1 << chance.randrange(8)
            case 1:
                del content[at : at + chance.randint(1, 16)]
            case 2:
                content[at:at] = content[at : at + chance.randint(1, 64)]
            case _:
                content[at : at + 4] = chance.randbytes(chance.randint(1, 8))
    return bytes(content)


def test_every_target_has_seeds() -> None:
    assert SEEDS.keys() == TARGETS.keys()


# Mutations of Parquet are left to the fuzzer: what ends the process would end this one.
@pytest.mark.parametrize("name", sorted(TARGETS.keys() - {"parquet"}))
def test_seeds_and_their_mutations_raise_nothing_undeclared(name: str) -> None:
    chance = random.Random(name)
    seeds = list(SEEDS[name]())
    for seed in seeds:
        TARGETS[name](seed)
    for _ in range(MUTATIONS):
        TARGETS[name](mutated(chance.choice(seeds), chance))


def test_sound_tables_are_read() -> None:
    for seed in SEEDS["parquet"]():
        TARGETS["parquet"](seed)


def test_nothing_breaks_twice() -> None:
    inputs = sorted(FOUND.glob("*/*"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.replay"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    read = done.stdout.split()
    assert done.returncode == 0, f"{read[-1:]}: {done.stderr[-2000:]}"
    assert len(read) == len(inputs) > 0
