"""moto's S3 server in a process of its own, on loopback: `running_s3` for tests and storms.

Of its own, because delta-rs holds Python's lock during some requests: a server in a thread of this
process would never answer them. moto looks at the condition of a PUT and then stores it; another
thread may come in between. Amazon S3 does both in one step, so writes take turns here.
"""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
SECRET = "wJalrXUtnFEMI-a-secret-of-the-tests-EXAMPLEKEY"  # noqa: S105  made up
KEY_ID = "AKIALATENTLAKETESTS0"


def environment(port: int, home: Path) -> dict[str, str]:
    """Return the variables that lead to the server and nowhere else."""
    return {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(home / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }


@contextmanager
def running_s3() -> Iterator[int]:
    """Start a server and yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.s3.server", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        yield port
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "the S3 server did not start"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the S3 server does not answer")


def serve(port: int) -> None:
    """Answer requests until killed."""
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import run_simple

    app, turn = create_backend_app("s3"), threading.Lock()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST", "DELETE"):
            answered: Iterable[bytes] = app(environ, start)
            return answered
        length = int(environ.get("CONTENT_LENGTH") or 0)
        # A slow sender must not keep the others waiting.
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with turn:
            return list(app(environ, start))

    run_simple("127.0.0.1", port, answer, threaded=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
