"""Make data/samples from public-domain data sets, with faults planted and written down.

    python benchmarks/make_samples.py DATASETS [OUT]

DATASETS is a folder with `clothing_photos/<class>/*.jpg` (unpacked), `arxiv_abstracts.parquet`,
`arxiv_revisions_docs.jsonl.gz` and `arxiv_revisions_truth.csv`. What is planted goes to
`truth.json`, so that tests can ask every report whether it found it. The result depends on the
inputs and on Pillow's JPEG encoder only: files are taken in sorted order, noise has a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from sample_photos import make_photos
from sample_texts import make_abstracts

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"


def main(datasets: Path, out: Path) -> None:
    """Make the samples anew under `out`; README, LICENSE and latentlake.toml there are kept."""
    shutil.rmtree(out / "photos", ignore_errors=True)
    photos = make_photos(datasets / "clothing_photos", out / "photos")
    abstracts = make_abstracts(datasets, out / "abstracts.jsonl.gz")
    truth = {"photos": asdict(photos), "abstracts": asdict(abstracts)}
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{photos.items} photos, {abstracts.items} lines of abstracts, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make data/samples anew.")
    parser.add_argument("datasets", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=SAMPLES)
    arguments = parser.parse_args()
    if not (arguments.datasets / "clothing_photos").is_dir():
        parser.error(f"{arguments.datasets}: no unpacked clothing_photos in it")
    main(arguments.datasets, arguments.out)
