"""The nightly deployment for real: a server and a process worker on loopback, a run, its lake."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tasks.conftest import Project

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(home: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PWD": str(ROOT),
    }


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  our own server
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def prefect(*arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_nightly_deployment_runs_on_a_process_worker(project: Project, tmp_path: Path) -> None:
    port = free_port()
    env = environment(tmp_path / "prefect", port)
    me = [sys.executable, "-m", "prefect"]
    server = [*me, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    worker = [*me, "worker", "start", "--pool", "latentlake"]
    with running(server, env, tmp_path / "server.log"):
        wait_for(f"http://127.0.0.1:{port}/api/health", 120)
        prefect("work-pool", "create", "latentlake", "--type", "process", env=env)
        prefect(
            *("--no-prompt", "deploy", "--all"),
            *("--prefect-file", "deployments/prefect.yaml"),
            env=env,
        )
        assert "pipeline/nightly" in prefect("deployment", "ls", env=env)
        parameters = {"config": str(project.folder / "latentlake.toml")}
        with running(worker, env, tmp_path / "worker.log"):
            prefect(
                *("deployment", "run", "pipeline/nightly", "--watch"),
                *("--param", f"parameters={json.dumps(parameters)}"),
                env=env,
            )
    assert project.lake.snapshot().number == 1
    assert project.lake.read("items").num_rows == 86
    assert project.lake.read("anomalies").num_rows == 80
