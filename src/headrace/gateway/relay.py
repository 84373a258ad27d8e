"""Relays administration to the controller's own HTTP server: the one public door has it too.

The client's request is written anew from its method, path, body and the few headers that matter; the answer is
collected within bounds and written anew as well. The admin API checks the key by itself.
"""

import asyncio
from pathlib import Path
from typing import Final

from headrace.gateway import answers, dates
from headrace.gateway.client import Client
from headrace.gateway.http1 import BadHttp, Chunks, Head

FOLDERS: Final = ("/headrace/", "/v1/organization/")
PAGES: Final = ("/metrics", "/openapi.json")
BODY_BYTES_MAX: Final = 8 << 20
ANSWER_BYTES_MAX: Final = 64 << 20
ANSWER_S: Final = 60.0
_PASSED: Final = (b"authorization", b"x-api-key", b"content-type", b"if-match", b"accept", b"idempotency-key")
_RETURNED: Final = (b"content-type", b"etag", b"retry-after", b"allow", b"www-authenticate")


def is_admin(path: str) -> bool:
    """Whether a path belongs to the admin API."""
    return path.startswith(FOLDERS) or path in PAGES


class Relayed:
    """One administrative request at work."""

    def __init__(self, client: Client, task: "asyncio.Task[None]") -> None:
        self._task = task
        client.work = self

    def client_gone(self) -> None:
        """What was asked is done all the same; only the answer is not needed."""

    def hold(self, paused: bool) -> None:
        """Answers are bounded; there is nothing to hold."""


async def relay(client: Client, head: Head, body: bytes, socket: Path, headers: bytes) -> None:
    """Ask the controller and answer the client."""
    try:
        if len(body) > BODY_BYTES_MAX:
            message = f"The body has {len(body)} bytes; the limit here is {BODY_BYTES_MAX >> 20} MiB."
            client.write(answers.error("request_too_large", message, headers=headers))
        else:
            async with asyncio.timeout(ANSWER_S):
                client.write(await _ask(head, body, socket, headers))
    except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError, BadHttp):
        message = "The controller is restarting; requests to models go on. Try again in a second."
        client.write(answers.error("stopping", message, headers=headers + b"retry-after: 1\r\n"))
    client.finished()


async def _ask(head: Head, body: bytes, socket: Path, headers: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 16)
    try:
        target = head.path.encode() + (b"?" + head.query if head.query else b"")
        lines = [b"%b %b HTTP/1.1" % (head.method, target), b"host: headrace", b"connection: close"]
        lines += [b"%b: %b" % (name, head.headers[name]) for name in _PASSED if name in head.headers]
        lines.append(b"content-length: %d" % len(body))
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        first, *fields = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        status = int(first[9:12])
        named = dict(_field(line) for line in fields)
        data = await _body(reader, named)
        lines = [b"HTTP/1.1 %d %b" % (status, answers.REASONS.get(status, b"Status"))]
        lines += [b"%b: %b" % (name, named[name]) for name in _RETURNED if name in named]
        lines.append(b"content-length: %d" % len(data))
        return b"\r\n".join(lines) + b"\r\n" + dates.line() + headers + b"\r\n" + data
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, named: dict[bytes, bytes]) -> bytes:
    """The whole body of an answer. Raises ValueError, EOFError or BadHttp."""
    if b"content-length" in named:
        length = int(named[b"content-length"])
        if length > ANSWER_BYTES_MAX:
            raise ValueError("the controller's answer is too large")
        return await reader.readexactly(length)
    chunks = Chunks() if b"transfer-encoding" in named else None
    parts, size = [], 0
    while data := await reader.read(1 << 16):
        whole = chunks.feed(data) if chunks else None
        if whole:
            return whole[0]
        parts.append(data)
        size += len(data)
        if size > ANSWER_BYTES_MAX:
            raise ValueError("the controller's answer is too large")
    if chunks:
        raise EOFError("the controller's answer was cut off")
    return b"".join(parts)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()
