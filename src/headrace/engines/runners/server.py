"""A small HTTP/1.1 server on a unix socket, for the runners of library engines. Knows no model.

A runner gives `serve` its routes; each request is one task, cancelled when its client goes away. Only the gateway of
the same machine and user connects here: the parser is strict all the same, and bodies are bounded. Plain asyncio and
httptools: an ASGI server cost 0.25 s of start and 20 MB more.
"""

import asyncio
import json
import os
import re
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import httptools

from headrace.engines.runners import resting
from headrace.engines.runners.resting import Rests
from headrace.errors import Invalid, Refused, openai_error

BODY_MAX_BYTES: Final = 40 << 20  # 25 MiB of a recording as base64, and its request
_PIPELINE_MAX: Final = 16
_DRAIN_MAX_S: Final = 3600.0
_CLOSE_GRACE_S: Final = 1.0
_NAME: Final = re.compile(rb"[!-~]{1,128}")

Route = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request and its answer: `json` or `whole` (other bytes) once; or `open`, `send`..., `close` for events."""

    __slots__ = ("_connection", "_keep_alive", "answered", "body", "method", "name", "path")

    def __init__(self, connection: "_Connection", method: str, path: str, body: bytes, keep_alive: bool) -> None:
        self._connection = connection
        self._keep_alive = keep_alive
        self.method, self.path, self.body = method, path, body
        self.name = connection.name  # what GET /progress calls it: the client's x-request-id
        self.answered = False

    def json(self, value: Any, status: int = 200) -> None:
        """Answer with one JSON value; `value` may be JSON bytes already."""
        data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        self._head(status, f"content-type: application/json\r\ncontent-length: {len(data)}\r\n", data)

    def whole(self, data: bytes, content_type: str) -> None:
        """Answer with bytes of that type, like audio/wav."""
        self._head(200, f"content-type: {content_type}\r\ncontent-length: {len(data)}\r\n", data)

    def open(self) -> None:
        """Begin a stream of server-sent events."""
        lines = "content-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n"
        self._head(200, lines, b"")

    async def send(self, data: bytes) -> None:
        """Send a part of the stream; waits while the client does not read."""
        self._connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._connection.writable.wait()

    def close(self) -> None:
        """End the stream."""
        self._connection.transport.write(b"0\r\n\r\n")

    def _head(self, status: int, lines: str, body: bytes) -> None:
        self.answered = True
        end = "" if self._keep_alive else "connection: close\r\n"
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}{end}\r\n"
        self._connection.transport.write(head.encode() + body)


class Server:
    """The routes and what runs now. `load` is what GET /load answers, `progress` what GET /progress does."""

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Route],
        load: Callable[[], dict[str, int]],
        progress: Callable[[], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.routes = {**routes, ("GET", "/health"): self._health, ("GET", "/load"): self._load}
        if progress is not None:
            self.routes["GET", "/progress"] = self._progress
        self.connections: set[_Connection] = set()
        self.gone = asyncio.Event()  # set while there is no connection
        self.gone.set()
        self.draining = self.asleep = False
        self._load_of_runner, self._progress_of_runner = load, progress

    async def answer(self, exchange: Exchange) -> None:
        """Route one request; errors become OpenAI error objects."""
        route = self.routes.get((exchange.method, exchange.path))
        if route is None:
            known = any(exchange.path == path for _, path in self.routes)
            refuse(exchange, 405 if known else 404, f"{exchange.method} {exchange.path} is not served here")
            return
        if self.asleep and exchange.method == "POST":
            refuse(exchange, 503, "this replica sleeps", code="asleep")
            return
        try:
            await route(exchange)
        except Invalid as error:
            refuse(exchange, error.status, error.message, param=error.param, code=error.code)
        except Refused as error:
            refuse(exchange, error.status, error.message, code=error.code)

    async def _health(self, exchange: Exchange) -> None:
        exchange.json({"status": "ok"}, 503 if self.draining else 200)

    async def _load(self, exchange: Exchange) -> None:
        exchange.json(self._load_of_runner())

    async def _progress(self, exchange: Exchange) -> None:
        assert self._progress_of_runner is not None, "else there is no such route"
        exchange.json({"running": self._progress_of_runner()})


def refuse(exchange: Exchange, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
    """Answer with an error object; a stream already open gets it as its last event."""
    error = openai_error(
        message, kind="invalid_request_error" if status < 500 else "server_error", param=param, code=code
    )
    if not exchange.answered:
        exchange.json(error, status)
    else:
        data = b"data: " + json.dumps(error).encode() + b"\n\n"
        exchange._connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        exchange.close()


class _Connection(asyncio.Protocol):
    """One client. Requests are answered one after the other, in order."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.transport: asyncio.Transport
        self.writable = asyncio.Event()
        self.writable.set()
        self.waiting: deque[Exchange] = deque()
        self.task: asyncio.Task[None] | None = None
        self.parser = httptools.HttpRequestParser(self)
        self.path, self.body, self.size, self.name = b"", [b""], 0, ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)
        self.server.gone.clear()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.server.connections.discard(self)
        if not self.server.connections:
            self.server.gone.set()
        self.waiting.clear()
        self.writable.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.transport.close()

    def on_message_begin(self) -> None:
        self.path, self.body, self.size, self.name = b"", [], 0, ""

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id" and _NAME.fullmatch(value):
            self.name = value.decode()

    def on_body(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > BODY_MAX_BYTES:
            self.transport.abort()
        self.body.append(data)

    def on_message_complete(self) -> None:
        if len(self.waiting) >= _PIPELINE_MAX:
            self.transport.abort()
            return
        method, path = self.parser.get_method().decode(), self.path.partition(b"?")[0].decode("latin1")
        keep = self.parser.should_keep_alive()
        self.waiting.append(Exchange(self, method, path, b"".join(self.body), keep))
        if self.task is None:
            self.task = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        try:
            while self.waiting:
                exchange = self.waiting.popleft()
                try:
                    await self.server.answer(exchange)
                except Exception:  # outermost frame of a request: the replica lives on
                    refuse(exchange, 500, "the engine failed on this request", code="engine_error")
                    raise
                if not exchange._keep_alive or (self.server.draining and not self.waiting):
                    self.transport.close()
        finally:
            self.task = None


def _sleep(server: "Server", rests: Rests) -> None:
    server.asleep = True
    rests.sleep()
    resting.give_back()
    resting.say_asleep()


def _wake(server: "Server", rests: Rests, ready: dict[str, Any]) -> None:
    if server.asleep:
        rests.wake()
        server.asleep = False
    print(json.dumps(ready), flush=True)


async def serve(server: Server, path: str, began: float, rests: Rests | None = None) -> None:
    """Listen on the unix socket, say so on standard output, serve until SIGTERM, then finish what runs.

    `began` is the moment of `time.monotonic` this process started at. `rests` sleeps and wakes when the host asks.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - a start-up path; pathlib costs milliseconds
    listener = await loop.create_unix_server(lambda: _Connection(server), path, backlog=1024)
    ready = {"ready": True, "address": f"unix:{path}", "load_ms": round(1000 * (time.monotonic() - began))}
    if rests is not None:
        loop.add_signal_handler(resting.SLEEP, _sleep, server, rests)
        loop.add_signal_handler(resting.WAKE, _wake, server, rests, ready)
    print(json.dumps(ready), flush=True)
    await stop.wait()
    server.draining = True
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - pathlib costs start-up time here
    listener.close()
    running = [connection.task for connection in server.connections if connection.task is not None]
    if running:
        await asyncio.wait(running, timeout=_DRAIN_MAX_S)
    for connection in list(server.connections):
        connection.transport.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(server.gone.wait(), _CLOSE_GRACE_S)
