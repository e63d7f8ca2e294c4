"""Stages keep to the memory limit on a corpus that does not fit into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentlake.limits import LEAST_MEMORY

ROOT = Path(__file__).resolve().parents[3]
ITEMS, NOTE = 90_000, "x" * 2000
"""As Python rows they take 5 KB each, 450 MB together."""
NOTES = pa.schema([("text", pa.string()), ("note", pa.string())])
CONFIG = f"""
[[sources]]
name = "notes"
kind = "text"
uri = "notes.parquet"
text = "text"
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["notes"]
options = {{ path = "words.txt" }}
[run]
threads = 2
[limits]
memory = {LEAST_MEMORY}
"""
STAGES = """
import json, os, sys
from data.lake import Lake
from latentlake.settings import load_settings
from models.encoders import word2vec
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.ingesting import ingest_source
from tasks.stages.planning import plan_embedding
from tasks.stages.spaces import find_space, make_space

def memory(field):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])

settings = load_settings("latentlake.toml")
lake, before = Lake(settings.root), memory("VmRSS")
if sys.argv[1] == "ingest":
    counts = ingest_source(lake, settings, "notes", "run").counts
else:
    space = make_space(lake, settings, "words", "run")
    plan = plan_embedding(lake, settings, space)
    receipts = [r for group in plan.groups for r in encode_group(lake, settings, space, group)]
    counts = commit_embedding(lake, space, plan, receipts, "run").counts
print(json.dumps([memory("VmHWM") - before, counts]))
"""


def run(folder: Path, stage: str) -> tuple[int, dict[str, int]]:
    """Run a stage in a process of its own; return the memory that it took and its counts."""
    done = subprocess.run(
        [sys.executable, "-c", STAGES, stage],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    taken, counts = json.loads(done.stdout)
    return taken, counts


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_corpus_larger_than_the_limit_goes_through_every_stage(tmp_path: Path) -> None:
    (tmp_path / "latentlake.toml").write_text(CONFIG)
    (tmp_path / "words.txt").write_text("alpha 1 0 0\nbeta 0 1 0\ngamma 0 0 1\n")
    with pq.ParquetWriter(tmp_path / "notes.parquet", NOTES) as writer:
        for start in range(0, ITEMS, 5000):
            texts = [f"alpha beta {n}" for n in range(start, start + 5000)]
            notes = [f"{n} {NOTE}" for n in range(start, start + 5000)]
            writer.write_table(pa.table([texts, notes], schema=NOTES))
    taken, counts = run(tmp_path, "ingest")
    assert counts["new"] == ITEMS
    assert taken < LEAST_MEMORY
    os.utime(tmp_path / "notes.parquet", ns=(0, 10**18))  # every row is another now
    taken, counts = run(tmp_path, "ingest")
    assert (counts["read"], counts["unchanged"]) == (1, ITEMS)
    assert taken < LEAST_MEMORY
    taken, counts = run(tmp_path, "embed")
    assert counts["encoded"] == ITEMS
    assert taken < LEAST_MEMORY
