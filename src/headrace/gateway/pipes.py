"""The way to the runner: what it needs to know of a client is proven here, and its answer passed on as is.

Pipelines, files, batches, videos, stored responses and MCP live there. A large upload is passed on while it arrives, a
large answer at the pace its client reads it. Also what a client calls its work (`x-headrace-label`) and the most a call
may cost (`x-headrace-max-cost`), which the runner sends with every call it makes.
"""

import asyncio
import re
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from headrace.errors import Invalid
from headrace.gateway import answers
from headrace.gateway.auth import Doorman
from headrace.gateway.client import Client
from headrace.gateway.http1 import Head
from headrace.gateway.reply import Run
from headrace.settings import Settings
from headrace.state import keys
from headrace.state.table import RouteKey
from headrace.wire.call import Call

OWN: Final = (b"run_", b"batch_", b"video_", b"resp_")  # how labels of the runner's work begin
PREFIX: Final = "pipeline/"
_FOLDERS: Final = (
    "/headrace/v1/pipelines", "/headrace/v1/runs", "/headrace/v1/storage",
    "/v1/files", "/v1/batches", "/v1/videos", "/v1/responses", "/mcp",
)  # fmt: skip
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_LABEL: Final = re.compile(rb"[\x21-\x7e]{1,200}")
_PASSED: Final = (
    b"content-type", b"idempotency-key", b"accept", b"last-event-id", b"mcp-session-id", b"mcp-protocol-version",
    b"mcp-method", b"mcp-name",
    b"x-headrace-label", b"x-headrace-max-cost", b"x-headrace-priority", b"x-headrace-deadline-ms",
    b"x-headrace-dry-run",
)  # fmt: skip
_PIECE: Final = 1 << 16
AWAY_S: Final = 10.0  # how long a runner that is away is waited for: it begins, or its successor does
LOOK_S: Final = 0.05


class Desk(Protocol):
    """What is needed of the worker."""

    settings: Settings

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside."""
        ...


def run_of(head: Head, key: RouteKey, doorman: Doorman) -> Run:
    """What a request says of the work that it belongs to. Raises Invalid.

    Labels of runs and batches, and turns of agents, are the runner's to tell: nobody else can make them, and so nobody
    can put work into the receipt of a run that did not do it.
    """
    label, cap = head.headers.get(b"x-headrace-label"), head.headers.get(b"x-headrace-max-cost")
    step, gone = b"x-headrace-agent-step" in head.headers, head.headers.get(b"x-headrace-on-disconnect", b"cancel")
    if label is not None and not _LABEL.fullmatch(label):
        raise Invalid("x-headrace-label has 1 to 200 visible ASCII characters.", param="x-headrace-label")
    if cap is not None and not (cap.isdigit() and len(cap) <= 18):
        raise Invalid("x-headrace-max-cost is a whole number of nano-dollars.", param="x-headrace-max-cost")
    if gone not in (b"cancel", b"finish") or (gone == b"finish" and b"idempotency-key" not in head.headers):
        message = "x-headrace-on-disconnect is cancel, or finish together with an Idempotency-Key."
        raise Invalid(message, param="x-headrace-on-disconnect")
    owned = label is not None and label.startswith(OWN)
    ours = (owned or step or b"idempotency-key" in head.headers) and doorman.acting(head.headers, key)
    if (owned or step) and not ours:
        if owned:
            raise _owned()
        raise Invalid("x-headrace-agent-step is the runner's alone.", param="x-headrace-agent-step")
    return Run(label=(label or b"").decode(), cap_nanousd=int(cap) if cap is not None else None, agent_steps=int(step),
               outlives=gone == b"finish", keeps=ours)  # fmt: skip


def took(
    desk: Desk, client: Client, head: Head, body: bytes, key: RouteKey, request_id: str, call: Call | None = None
) -> bool:
    """Whether this is the runner's, by its path or by what is called: then it is asked, and its answer passed on.

    Raises Invalid for a label that only the runner may give, since what the runner sends is believed.
    """
    if not (call.kept or call.model.startswith(PREFIX) if call is not None else _is_ours(head.path)):
        return False
    if head.headers.get(b"x-headrace-label", b"").startswith(OWN):
        raise _owned()
    length = head.length or 0 if client.upload is not None else len(body)
    passed = Passed(client, _request(desk, head, key, length) + body, request_id.encode())
    desk.spawn(passed.work(desk.settings.pipelines_socket))
    return True


def _owned() -> Invalid:
    message = "A label that begins with run_, batch_, video_ or resp_ is the runner's; choose another."
    return Invalid(message, param="x-headrace-label")


def _is_ours(path: str) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in _FOLDERS)


class Passed:
    """One request that the runner answers. What was asked is done even when nobody waits for the answer."""

    def __init__(self, client: Client, request: bytes, request_id: bytes) -> None:
        self._client = client
        self._request = request
        self._upload = client.upload
        self._id = request_id
        self._room = asyncio.Event()
        self._room.set()
        self._answering: asyncio.StreamWriter | None = None
        client.work = self

    def client_gone(self) -> None:
        """Nobody reads the answer any more: once it has begun, it need not go on."""
        self._room.set()
        if self._answering is not None:
            self._answering.close()

    def hold(self, paused: bool) -> None:
        """The client reads too slowly, or again: so the runner is read."""
        if paused:
            self._room.clear()
        else:
            self._room.set()

    async def work(self, socket: Path) -> None:
        """Ask the runner and answer the client."""
        client, begun = self._client, False
        try:
            reader, writer = await self._connected(socket)
            sending = asyncio.ensure_future(self._send(writer))
            try:
                said = await reader.readuntil(b"\r\n\r\n")
                begun, self._answering = True, writer
                client.write(said[:-2] + b"x-request-id: %b\r\nconnection: close\r\n\r\n" % self._id)
                while (data := await reader.read(_PIECE)) and not client.closing:
                    client.write(data)
                    await self._room.wait()
            finally:
                sending.cancel()
                writer.close()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            if not begun:
                message = "The runner is restarting; runs and batches go on. Try again in a second."
                more = b"x-request-id: %b\r\nretry-after: 1\r\n" % self._id
                client.write(answers.error("stopping", message, headers=more))
        client.finished(close=True)

    async def _connected(self, socket: Path) -> Line:
        """The runner, waited for while it is away, as long as the client is there: nothing was sent. Raises OSError."""
        end_s = time.monotonic() + AWAY_S
        while True:
            try:
                return await asyncio.open_unix_connection(socket, limit=_PIECE)
            except (FileNotFoundError, ConnectionRefusedError):
                if self._client.closing or time.monotonic() > end_s:
                    raise
            await asyncio.sleep(LOOK_S)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        """The request; an upload as it comes. One that breaks off closes the connection, and the runner knows."""
        with suppress(OSError):
            writer.write(self._request)
            if self._upload is None:
                return
            try:
                while data := await self._upload.read(_PIECE):
                    writer.write(data)
                    await writer.drain()
            except OSError:
                writer.close()


def _request(desk: Desk, head: Head, key: RouteKey, length: int) -> bytes:
    target = head.path.encode() + (b"?" + head.query if head.query else b"")
    lines = [b"%b %b HTTP/1.1" % (head.method, target), b"host: headrace", b"connection: close"]
    lines += [b"%b: %b" % (name, head.headers[name]) for name in _PASSED if name in head.headers]
    proof = keys.proof(bytes.fromhex(desk.settings.pepper.read_text().strip()), keys.RUNNER)
    who = {"key": key.id, "tenant": key.tenant, "role": key.role, "proof": proof}
    lines += [f"x-headrace-{name}: {value}".encode() for name, value in who.items()]
    return b"\r\n".join([*lines, b"content-length: %d" % length]) + b"\r\n\r\n"
