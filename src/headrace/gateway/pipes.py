"""The way to the runner of pipelines: what it needs to know of a client is proven here, and its answer passed on as is.

Also what a client calls its work (`x-headrace-label`) and the most a call may cost (`x-headrace-max-cost`), which the
runner sends with every call it makes.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from headrace.errors import Invalid
from headrace.gateway import answers, relay
from headrace.gateway.auth import Doorman
from headrace.gateway.client import Client
from headrace.gateway.http1 import Head
from headrace.gateway.reply import Run
from headrace.settings import Settings
from headrace.state import keys
from headrace.state.table import RouteKey

RUNS: Final = b"run_"
PREFIX: Final = "pipeline/"
_FOLDERS: Final = ("/headrace/v1/pipelines", "/headrace/v1/runs")
_LABEL: Final = re.compile(rb"[\x21-\x7e]{1,200}")
_PASSED: Final = (b"content-type", b"idempotency-key")
_PIECE: Final = 1 << 16


class Desk(Protocol):
    """What is needed of the worker."""

    settings: Settings

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside."""
        ...


def run_of(head: Head, key: RouteKey, doorman: Doorman) -> Run:
    """What a request says of the work that it belongs to. Raises Invalid.

    Labels of runs, and turns of agents, are the runner's to tell: nobody else can make them, and so nobody can put
    work into the receipt of a run that did not do it.
    """
    label, cap = head.headers.get(b"x-headrace-label"), head.headers.get(b"x-headrace-max-cost")
    step = b"x-headrace-agent-step" in head.headers
    if label is not None and not _LABEL.fullmatch(label):
        raise Invalid("x-headrace-label has 1 to 200 visible ASCII characters.", param="x-headrace-label")
    if cap is not None and not (cap.isdigit() and len(cap) <= 18):
        raise Invalid("x-headrace-max-cost is a whole number of nano-dollars.", param="x-headrace-max-cost")
    owned = label is not None and label.startswith(RUNS)
    if (owned or step) and not doorman.acting(head.headers, key):
        if owned:
            raise Invalid("A label that begins with run_ belongs to a run; choose another.", param="x-headrace-label")
        raise Invalid("x-headrace-agent-step is the runner's alone.", param="x-headrace-agent-step")
    return Run(label=(label or b"").decode(), cap_nanousd=int(cap) if cap is not None else None, agent_steps=int(step))


def took(desk: Desk, client: Client, head: Head, body: bytes, key: RouteKey, request_id: str, model: str = "") -> bool:
    """Whether this is the runner's: then it is asked, and its answer passed on."""
    if not (model.startswith(PREFIX) if model else head.path.startswith(_FOLDERS)):
        return False
    relay.Relayed(client, desk.spawn(_pass(desk, client, head, body, key, request_id)))
    return True


async def _pass(desk: Desk, client: Client, head: Head, body: bytes, key: RouteKey, request_id: str) -> None:
    begun = False
    try:
        if len(body) > relay.BODY_BYTES_MAX:
            raise ValueError("too large")
        reader, writer = await asyncio.open_unix_connection(desk.settings.pipelines_socket, limit=_PIECE)
        try:
            writer.write(_request(desk, head, key, len(body)) + body)
            said = await reader.readuntil(b"\r\n\r\n")
            begun = True
            client.write(said[:-2] + b"x-request-id: %b\r\nconnection: close\r\n\r\n" % request_id.encode())
            while (data := await reader.read(_PIECE)) and not client.closing:
                client.write(data)
        finally:
            writer.close()
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        if not begun:
            message = "The runner of pipelines is restarting; runs go on. Try again in a second."
            more = b"x-request-id: %b\r\nretry-after: 1\r\n" % request_id.encode()
            client.write(answers.error("stopping", message, headers=more))
    client.finished(close=True)


def _request(desk: Desk, head: Head, key: RouteKey, length: int) -> bytes:
    target = head.path.encode() + (b"?" + head.query if head.query else b"")
    lines = [b"%b %b HTTP/1.1" % (head.method, target), b"host: headrace", b"connection: close"]
    lines += [b"%b: %b" % (name, head.headers[name]) for name in _PASSED if name in head.headers]
    proof = keys.proof(bytes.fromhex(desk.settings.pepper.read_text().strip()), "pipelines")
    who = {"key": key.id, "tenant": key.tenant, "role": key.role, "proof": proof}
    lines += [f"x-headrace-{name}: {value}".encode() for name, value in who.items()]
    return b"\r\n".join([*lines, b"content-length: %d" % length]) + b"\r\n\r\n"
