"""Relays administration to the controller's own HTTP server: the one public door has it too.

The client's request is written anew from its method, path, body and the few headers that matter; the answer is
collected within bounds and written anew as well. The admin API checks the key by itself.
"""

import asyncio
from pathlib import Path
from typing import Final

from headrace.gateway import answers
from headrace.gateway.client import Client
from headrace.gateway.http1 import Head

PREFIXES: Final = ("/headrace/", "/metrics", "/openapi.json")
ANSWER_BYTES_MAX: Final = 64 << 20
ANSWER_S: Final = 60.0
_PASSED: Final = (b"authorization", b"x-api-key", b"content-type", b"if-match", b"accept", b"idempotency-key")
_RETURNED: Final = (b"content-type", b"etag", b"retry-after", b"allow", b"www-authenticate")


def is_admin(path: str) -> bool:
    """Whether a path belongs to the admin API."""
    return path.startswith(PREFIXES[0]) or path in PREFIXES[1:]


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
        async with asyncio.timeout(ANSWER_S):
            client.write(await _ask(head, body, socket, headers))
    except (OSError, TimeoutError, ValueError):
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
        answer = await reader.readuntil(b"\r\n\r\n")
        first, *fields = answer[:-4].split(b"\r\n")
        status = int(first.split()[1])
        named = dict(_field(line) for line in fields)
        length = int(named.get(b"content-length", b"-1"))
        if length > ANSWER_BYTES_MAX:
            raise ValueError("the controller's answer is too large")
        data = await (reader.readexactly(length) if length >= 0 else reader.read(ANSWER_BYTES_MAX))
        lines = [b"HTTP/1.1 %d %b" % (status, answers.REASONS.get(status, b"Status"))]
        lines += [b"%b: %b" % (name, named[name]) for name in _RETURNED if name in named]
        lines.append(b"content-length: %d" % len(data))
        return b"\r\n".join(lines) + b"\r\n" + headers + b"\r\n" + data
    finally:
        writer.close()


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()
