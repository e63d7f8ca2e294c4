"""A proxy before an S3 server that misbehaves by a seeded schedule, on loopback only.

It drops connections before and after the server has done its work, answers 500, 503, 409 and 412 of
its own, and cuts bodies short: all that a client of a busy object store has to live with.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONDITIONS = (b"if-none-match:", b"if-match:")
_COMMITS_WEIGH = 5
_MOST_IN_A_ROW = 2
"""Faults that one request and its repetitions meet before they are let through."""


class Fault(StrEnum):
    """What happens to a request."""

    DROP = "connection dropped before the server saw the request"
    LOSE_ANSWER = "connection dropped after the server did the work"
    FAIL_AFTER = "500 after the server did the work"
    INTERNAL_ERROR = "500"
    SLOW_DOWN = "503"
    CONFLICT = "409"
    PRECONDITION = "412"
    CUT = "body cut short"


_CODES = {
    Fault.FAIL_AFTER: (500, "InternalError"),
    Fault.INTERNAL_ERROR: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.CONFLICT: (409, "ConditionalRequestConflict"),
    Fault.PRECONDITION: (412, "PreconditionFailed"),
}
_CONDITIONAL = (Fault.CONFLICT, Fault.PRECONDITION)


@dataclass
class FaultSchedule:
    """Decides, from a seed and the order of requests, which of them fail and how.

    Attributes:
        seed: of all choices.
        ignored: a header that never reaches the server, in lower case with its colon.
        rate: the share of requests that meet a fault; for conditional writes five times that.
        kinds: the faults to choose from; 409 and 412 only hit conditional writes.
        injected: how often each has happened.
        requests: how many requests came.
    """

    seed: int
    rate: float
    kinds: tuple[Fault, ...] = tuple(Fault)
    ignored: bytes | None = None
    injected: Counter[Fault] = field(default_factory=Counter)
    requests: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._in_a_row: Counter[bytes] = Counter()
        common = [kind for kind in self.kinds if kind not in _CONDITIONAL]
        self._random.shuffle(common)
        rare = [kind for kind in self.kinds if kind in _CONDITIONAL]
        # Kinds take turns, so that a short run meets all of them.
        self._decks = {False: deque(common), True: deque([*rare, *common])}

    def fault_of(self, head: bytes) -> Fault | None:
        """Choose what happens to the request with this head."""
        self.requests += 1
        line = head.partition(b"\r\n")[0]
        is_conditional = line.startswith(b"PUT") and any(c in head.lower() for c in _CONDITIONS)
        # Conditional writes are the commits: few beside all reads, and where most can go wrong.
        rate = self.rate * (_COMMITS_WEIGH if is_conditional else 1)
        fails = self._random.random() < rate and self._in_a_row[line] < _MOST_IN_A_ROW
        deck = self._decks[is_conditional]
        if not fails or not deck:
            del self._in_a_row[line]
            return None
        self._in_a_row[line] += 1
        fault = deck.popleft()
        deck.append(fault)
        self.injected[fault] += 1
        return fault


@contextmanager
def fault_proxy(port: int, schedule: FaultSchedule) -> Iterator[str]:
    """Run the proxy before a server on loopback; yield its URL.

    Args:
        port: the server's.
        schedule: which requests fail.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await _exchange(reader, writer, port, schedule):
                pass
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def stop() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    start = asyncio.start_server(handle, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(start, loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    port: int,
    schedule: FaultSchedule,
) -> bool:
    """Serve one request; False where the connection is to be closed."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"\r\nexpect:" in head.lower():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(reader, head)
    fault = schedule.fault_of(head)
    if fault is Fault.DROP:
        return False
    if fault in _CODES and fault is not Fault.FAIL_AFTER:
        writer.write(_error(fault))
        await writer.drain()
        return True
    answer = await _forwarded(head, body, port, schedule.ignored)
    if fault is Fault.LOSE_ANSWER:
        return False
    if fault is Fault.FAIL_AFTER:
        answer = _error(fault)
    if fault is Fault.CUT:
        start = answer.index(b"\r\n\r\n") + 4
        answer = answer[: start + (len(answer) - start) // 2]
    writer.write(answer)
    await writer.drain()
    return False  # the server closes its connection after each answer, and says so in it


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if b"chunked" not in fields.get(b"transfer-encoding", b""):
        return await reader.readexactly(int(fields.get(b"content-length", b"0")))
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return body


async def _forwarded(head: bytes, body: bytes, port: int, ignored: bytes | None) -> bytes:
    left_out = (b"connection:", b"expect:", ignored or b"expect:")
    kept = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(left_out)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\r\n".join([*kept, b"Connection: close", b"", b""]) + body)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def _error(fault: Fault) -> bytes:
    number, code = _CODES[fault]
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>a fault</Message></Error>"
    head = (
        f"HTTP/1.1 {number} {code}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(text)}\r\n\r\n"
    )
    return (head + text).encode()
