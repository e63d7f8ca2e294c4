"""moto's S3 server: `python -m tests.s3.server PORT`, on loopback.

It looks at the condition of a PUT and then stores it; another thread may come in between. Amazon S3
does both in one step, so writes take turns here.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import run_simple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_turn = threading.Lock()


def main() -> None:
    app = create_backend_app("s3")

    def in_turn(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST", "DELETE"):
            answer: Iterable[bytes] = app(environ, start)
            return answer
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length:  # a slow sender must not keep the others waiting
            environ["wsgi.input"] = _read(environ["wsgi.input"], length)
        with _turn:
            return list(app(environ, start))

    run_simple("127.0.0.1", int(sys.argv[1]), in_turn, threaded=True)


def _read(stream: Any, length: int) -> Any:
    from io import BytesIO

    return BytesIO(stream.read(length))


if __name__ == "__main__":
    main()
