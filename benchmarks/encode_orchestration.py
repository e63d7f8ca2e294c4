"""What do Prefect, shards and commits add to the time of embedding?

A Prefect server runs already, as it does for scheduled runs. Over the same contents, in rounds that
take turns:

* `flow`: the flow `embed` on that server, from planning to the published snapshot;
* `plain`: the same encoder over the same files or texts, prepared by a pool and encoded in batches,
  with the result thrown away: no lake, no shard, no flow.

The share of orchestration is 1 - plain / flow. The encoder is loaded before either.

    .venv/bin/python benchmarks/encode_orchestration.py --photos FOLDER [--count 20000] [--rounds 2]
    .venv/bin/python benchmarks/encode_orchestration.py --texts FILE.parquet --column abstract

Prints the table and writes benchmarks/results/encode_orchestration.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from encode_lake import machine

from data.images import decode_image
from data.lake import Lake
from latentlake.settings import load_settings
from tasks.stages.ingesting import ingest_source
from tasks.stages.spaces import find_space, live_encoder, make_space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
CONFIG = """
[[sources]]
name = "corpus"
kind = "{kind}"
uri = "{uri}"
{text}
[[spaces]]
name = "vectors"
encoder = "{encoder}"
sources = ["corpus"]
"""


@dataclass(frozen=True)
class Corpus:
    """What is embedded: how to configure it, and each content as the encoder takes it."""

    config: str
    loads: list[Callable[[], Any]]
    unit: str


def photos(folder: Path, count: int, project: Path) -> Corpus:
    """Link photos, one of each content, into the project."""
    different = {path.read_bytes(): path for path in sorted(folder.rglob("*.jpg"))}
    paths = list(different.values())[:count]
    (project / "photos").mkdir()
    for number, path in enumerate(paths):
        (project / "photos" / f"{number}.jpg").symlink_to(path.resolve())
    config = CONFIG.format(kind="images", uri="photos", text="", encoder="efficientnet-lite0")
    return Corpus(config, [path.read_bytes for path in paths], "photos")


def texts(file: Path, column: str, count: int, project: Path) -> Corpus:
    """Copy different texts into the project."""
    found = pq.read_table(file, columns=[column])[column].unique().drop_null()[:count]
    pq.write_table(pa.table({"text": found}), project / "texts.parquet")
    config = CONFIG.format(kind="text", uri="texts.parquet", text='text = "text"', encoder="minilm")
    return Corpus(config, [partial(str, text) for text in found.to_pylist()], "texts")


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Run a server on loopback; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(  # noqa: S603 - our own interpreter
            command, env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}/api"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()  # noqa: S310
                break
            except OSError:
                time.sleep(0.5)
        else:
            raise SystemExit(f"the server does not answer:\n{(home / 'server.log').read_text()}")
        yield url
    finally:
        server.terminate()
        server.wait(60)


def plain_seconds(encoder: Any, loads: list[Callable[[], Any]], threads: int) -> float:
    """Prepare in a pool, encode in this thread, keep nothing."""

    def prepare(load: Callable[[], Any]) -> Any:
        content = load()
        if isinstance(content, bytes):
            content = decode_image(content, getattr(encoder, "min_side", None))
        return encoder.prepare(content)

    size = encoder.batch_size
    batches = [loads[start : start + size] for start in range(0, len(loads), size)]
    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[list[Future[Any]]] = []
        for batch in batches:
            waiting.append([pool.submit(prepare, load) for load in batch])
            if len(waiting) == 4:  # noqa: PLR2004 - batches ahead, as the stage has them
                encoder.encode([future.result() for future in waiting.pop(0)])
        for futures in waiting:
            encoder.encode([future.result() for future in futures])
    return time.monotonic() - began


def flow_seconds(project: Path) -> float:
    """Embed a fresh lake by the flow, on the server that the environment names."""
    from flows.embed import embed
    from tasks.parameters import EmbedParameters

    settings = load_settings(project / "latentlake.toml")
    shutil.rmtree(settings.root, ignore_errors=True)
    lake = Lake(settings.root)
    ingest_source(lake, settings, "corpus", "run")
    make_space(lake, settings, "vectors", "run")
    lake.commit_snapshot("run")
    parameters = EmbedParameters(config=str(project / "latentlake.toml"))
    began = time.monotonic()
    embed(parameters)
    return time.monotonic() - began


def measure(corpus: Corpus, project: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way, one figure a round."""
    (project / "latentlake.toml").write_text(corpus.config, encoding="utf-8")
    settings = load_settings(project / "latentlake.toml")
    lake = Lake(settings.root)
    ingest_source(lake, settings, "corpus", "run")
    space = find_space(lake, settings, "vectors") or make_space(lake, settings, "vectors", "run")
    encoder = live_encoder(lake, settings, space)
    plain_seconds(encoder, corpus.loads[: encoder.batch_size], settings.run.thread_count)
    seconds: dict[str, list[float]] = {"flow": [], "plain": []}
    for _ in range(rounds):
        seconds["flow"].append(flow_seconds(project))
        plain = plain_seconds(encoder, corpus.loads, settings.run.thread_count)
        seconds["plain"].append(plain)
    return seconds


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=HERE.parent / "data" / "samples" / "photos")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--column", default="abstract")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    output = HERE / "results" / "encode_orchestration.json"
    parser.add_argument("--output", type=Path, default=output)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        project, home = Path(name) / "project", Path(name) / "prefect"
        project.mkdir()
        home.mkdir()
        if asked.texts:
            corpus = texts(asked.texts, asked.column, asked.count, project)
        else:
            corpus = photos(asked.photos, asked.count, project)
        with prefect_server(home) as url:
            os.environ |= {"PREFECT_API_URL": url, "PREFECT_HOME": str(home)}
            os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
            seconds = measure(corpus, project, asked.rounds)
    shares = [1 - p / f for p, f in zip(seconds["plain"], seconds["flow"], strict=True)]
    for way, found in seconds.items():
        print(f"{way:6} {statistics.median(found):7.2f} s for {len(corpus.loads)} {corpus.unit}")
    print(f"orchestration {statistics.median(shares):.3f} of the flow's time")
    result = {
        corpus.unit: len(corpus.loads),
        "seconds": seconds,
        "orchestration_share": statistics.median(shares),
        "machine": machine(),
    }
    asked.output.parent.mkdir(exist_ok=True)
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
