"""Coverage-guided fuzzing: `python -m tests.fuzz [TARGET ...] --seconds 60 [--corpus FOLDER]`.

The time is shared by the targets, one process after the other. What breaks one is left in
FOLDER/found/TARGET; put it into tests/fuzz/found/TARGET, and it is a test from then on.
Exit status 1 says that something was found.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SECONDS_AN_INPUT = 30
RSS_LIMIT_MB = 1500
MAX_LENGTH = 1 << 14
MAX_FINDINGS = 20

_PULSE = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)\S*.*?rss: (\d+)Mb", re.M)


@dataclass
class Campaign:
    """What fuzzing one target came to.

    Attributes:
        executions: inputs that were tried.
        coverage: edges of the instrumented code, after the seeds and at the end.
        corpus: inputs that each reach something new.
        peak_mb: of resident memory.
        findings: files of inputs that broke it.
    """

    executions: int = 0
    coverage: tuple[int, int] = (0, 0)
    corpus: int = 0
    peak_mb: int = 0
    findings: list[Path] = field(default_factory=list)

    def add(self, log: str) -> None:
        """Take one process's log into account."""
        pulses = _PULSE.findall(log)
        if not pulses:
            return
        begun = next((p for p in pulses if p[1] == "INITED"), pulses[0])
        self.executions += int(pulses[-1][0])
        self.coverage = (self.coverage[0] or int(begun[2]), int(pulses[-1][2]))
        self.corpus = int(pulses[-1][4])
        self.peak_mb = max(self.peak_mb, *(int(pulse[5]) for pulse in pulses))


def fuzz(name: str, seconds: float, folder: Path, seed: int) -> Campaign:
    """Fuzz a target for some time, going on after each finding with the next seed."""
    corpus, found = folder / "corpus" / name, folder / "found" / name
    for place in (corpus, found):
        place.mkdir(parents=True, exist_ok=True)
    for sound in SEEDS[name]():
        (corpus / sha256(sound).hexdigest()[:16]).write_bytes(sound)
    campaign, end = Campaign(), time.monotonic() + seconds
    while (left := int(end - time.monotonic())) > 0 and len(campaign.findings) < MAX_FINDINGS:
        before = set(found.iterdir())
        log = folder / f"{name}.log"
        with log.open("wb") as file:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.fuzz.one", name),
                    *(f"-seed={seed + len(campaign.findings)}", f"-max_total_time={left}"),
                    *(f"-timeout={SECONDS_AN_INPUT}", f"-max_len={MAX_LENGTH}"),
                    f"-rss_limit_mb={RSS_LIMIT_MB}",
                    *(f"-artifact_prefix={found}/", str(corpus)),
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                check=False,
            )
        text = log.read_text("utf-8", "replace")
        campaign.add(text)
        fresh = sorted(set(found.iterdir()) - before)
        campaign.findings += fresh
        if done.returncode and not fresh:  # it did not even begin, or was killed
            kept = log.replace(found / f"log-{len(campaign.findings)}.txt")
            campaign.findings.append(kept)
        for input_file in fresh:
            input_file.with_suffix(".txt").write_text(text[-8000:], "utf-8")
    return campaign


def main() -> int:
    """Fuzz the targets that are named, or all, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations")
    parser.add_argument("--corpus", type=Path, default=ROOT / ".fuzz", help="kept between calls")
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    findings: list[Path] = []
    for name in names:
        done = fuzz(name, arguments.seconds / len(names), arguments.corpus, arguments.seed)
        findings += done.findings
        print(
            f"{name:<12}{done.executions:>10} inputs, coverage {done.coverage[0]} -> "
            f"{done.coverage[1]}, corpus {done.corpus}, {done.peak_mb} MB, "
            f"{len(done.findings)} findings",
            flush=True,
        )
    for path in findings:
        print(f"found: {path}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
