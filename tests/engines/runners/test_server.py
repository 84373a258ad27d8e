"""The runners' HTTP server: answers in order, bounded, cancels who leaves, drains on SIGTERM."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.engines.runners import server
from headrace.engines.runners.server import Exchange, Server, serve

Talk = Callable[[str], Awaitable[None]]


def request(path: str, body: bytes = b"", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: e\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    size = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(size))


def talk(tmp_path: Path, routes: dict[tuple[str, str], Any], client: Talk) -> None:
    """Serve in this process, let the client talk, end by SIGTERM."""

    async def work() -> None:
        path = str(tmp_path / "s.sock")
        made = Server(routes, lambda: {"running": 0, "waiting": 0, "slots": 1})
        serving = asyncio.ensure_future(serve(made, path, time.monotonic()))
        while not os.path.exists(path):  # noqa: PTH110
            await asyncio.sleep(0)
        await client(path)
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 10)

    asyncio.run(work())


async def echo(exchange: Exchange) -> None:
    exchange.json({"size": len(exchange.body)})


ECHO: dict[tuple[str, str], Any] = {("POST", "/echo"): echo}


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    """One connection, three requests at once."""

    async def client(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request("/echo", b"1") + request("/none") + request("/echo", b"333"))
        assert [(await answer_of(reader))[0] for _ in range(3)] == [200, 404, 200]
        writer.close()

    talk(tmp_path, ECHO, client)


def test_health_and_load_are_always_there(tmp_path: Path) -> None:
    """And a wrong method is 405."""

    async def client(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /health HTTP/1.1\r\nhost: e\r\n\r\nGET /load HTTP/1.1\r\nhost: e\r\n\r\n")
        assert await answer_of(reader) == (200, {"status": "ok"})
        assert await answer_of(reader) == (200, {"running": 0, "waiting": 0, "slots": 1})
        writer.write(request("/health"))
        assert (await answer_of(reader))[0] == 405
        writer.close()

    talk(tmp_path, ECHO, client)


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n"]
)
def test_garbage_closes_the_connection(tmp_path: Path, data: bytes) -> None:
    """Nothing is answered to what is not HTTP."""

    async def client(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(data)
        assert await reader.read() == b""
        writer.close()

    talk(tmp_path, ECHO, client)


def test_a_body_over_the_limit_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded whatever the header says."""
    monkeypatch.setattr(server, "BODY_MAX_BYTES", 1000)

    async def client(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request("/echo", b"x" * 2000))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await answer_of(reader)
        writer.close()

    talk(tmp_path, ECHO, client)


def test_a_client_that_leaves_is_noticed(tmp_path: Path) -> None:
    """Its task is cancelled at once."""
    cancelled = []

    async def slow(exchange: Exchange) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(exchange.path)
            raise

    async def client(path: str) -> None:
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(request("/slow"))
        await writer.drain()
        _, other = await asyncio.open_unix_connection(path)
        writer.close()
        end = time.monotonic() + 5
        while not cancelled and time.monotonic() < end:
            await asyncio.sleep(0)
        other.close()
        assert cancelled == ["/slow"]

    talk(tmp_path, {("POST", "/slow"): slow}, client)


def test_sigterm_lets_what_runs_finish(tmp_path: Path) -> None:
    """The socket's name is gone, the answer comes, then the connection ends."""
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        exchange.json({"done": True})

    async def client(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request("/slow"))
        await writer.drain()
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        while os.path.exists(path):  # noqa: PTH110
            await asyncio.sleep(0)
        go.set()
        assert await answer_of(reader) == (200, {"done": True})
        assert await reader.read() == b""
        writer.close()

    talk(tmp_path, {("POST", "/slow"): slow}, client)


def test_progress_is_told_where_a_runner_has_it_under_the_name_the_client_gave(tmp_path: Path) -> None:
    """`x-request-id` names a request; one that is no plain word is as none; without progress there is no such path."""
    names: list[str] = []

    async def work(exchange: Exchange) -> None:
        names.append(exchange.name)
        exchange.json({})

    async def client(path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        for more in ("X-Request-Id: req_1\r\n", "", "x-request-id: two words\r\n"):
            writer.write(request("/work", more=more))
            assert (await answer_of(reader))[0] == 200
        writer.write(b"GET /progress HTTP/1.1\r\nhost: e\r\n\r\n")
        assert (await answer_of(reader))[0] == 404
        writer.close()

    talk(tmp_path, {("POST", "/work"): work}, client)
    assert names == ["req_1", "", ""]

    async def asked() -> None:
        told = [{"id": "req_1", "step": 3, "steps": 8}]
        path = str(tmp_path / "p.sock")
        made = Server({}, dict, lambda: told)
        serving = asyncio.ensure_future(serve(made, path, time.monotonic()))
        while not os.path.exists(path):  # noqa: PTH110
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /progress HTTP/1.1\r\nhost: e\r\n\r\n")
        assert await answer_of(reader) == (200, {"running": told})
        writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 10)

    asyncio.run(asked())
