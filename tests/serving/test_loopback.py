"""The runner's way to the gateway: connections kept and replaced, and what an answer means."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.errors import Unreachable
from headrace.serving import asking
from headrace.serving.loopback import Answered, Loopback

PEPPER = bytes(32)
Serve = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def said(body: bytes = b"{}", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (more, len(body), body)


def served(serve: Serve, check: Any, keep: int = 4, *, again: bool = True) -> None:
    """`serve` is given the connection's number, and is left when it returns."""

    async def work() -> None:
        came = [0]

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came[0] += 1
            try:
                await serve(came[0], reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        loopback = Loopback("0.0.0.0", server.sockets[0].getsockname()[1], PEPPER, keep=keep, again=again)
        try:
            await check(loopback, came)
        finally:
            loopback.close()
            server.close()

    asyncio.run(work())


async def head(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode()


def test_a_connection_is_used_again_and_replaced_when_it_has_gone(tmp_path):
    """Two calls on the first, which then ends; the third goes out on another."""

    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            assert "authorization: Bearer hr-k-" in await head(reader)
            writer.write(said(b'{"n": %d}' % number))

    async def check(loopback: Loopback, came: list[int]) -> None:
        bodies = []
        for _ in range(3):
            bodies.append((await loopback.send("GET", "/x", key="k")).body)
        assert bodies == [b'{"n": 1}', b'{"n": 1}', b'{"n": 2}']

    served(serve, check)


def test_a_call_that_breaks_off_is_told_to_who_wants_it_sent_once():
    """The second call has begun on a kept connection, for all anybody knows; the third is another call."""

    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(said())
        await head(reader)
        if number > 1:
            writer.write(said())

    async def check(loopback: Loopback, came: list[int]) -> None:
        await loopback.send("GET", "/x", key="k")
        with pytest.raises(Unreachable):
            await loopback.send("GET", "/x", key="k")
        assert came == [1]
        assert (await loopback.send("GET", "/x", key="k")).status == 200
        assert came == [2]

    served(serve, check, again=False)


def test_a_connection_that_was_closed_while_it_was_idle_is_not_used():
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(said())

    async def check(loopback: Loopback, came: list[int]) -> None:
        for _ in range(3):
            await loopback.send("GET", "/x", key="k")
            async with asyncio.timeout(5):
                await loopback._idle[-1][0].read()  # until its end
        assert came == [3]

    served(serve, check, again=False)


def test_without_keeping_any_each_call_has_its_own(tmp_path):
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert "connection: close" in await head(reader)
        writer.write(said())

    async def check(loopback: Loopback, came: list[int]) -> None:
        for _ in range(3):
            await loopback.send("GET", "/x", key="k")
        assert came == [3]

    served(serve, check, keep=0)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n", said(b"12345")[:-2],
                                  b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"])  # fmt: skip
def test_what_breaks_off_or_makes_no_sense_is_unreachable(data: bytes):
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(data)

    async def check(loopback: Loopback, came: list[int]) -> None:
        with pytest.raises(Unreachable):
            await loopback.send("GET", "/x", key="k")

    served(serve, check)


def test_a_call_that_is_cancelled_closes_its_connection():
    """Which is how the gateway knows."""
    gone = asyncio.Event()

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        await reader.read()
        gone.set()

    async def check(loopback: Loopback, came: list[int]) -> None:
        call = asyncio.ensure_future(loopback.send("GET", "/x", key="k"))
        while not came[0]:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait_for(gone.wait(), 5)

    served(serve, check)


def answered(status: int, code: str = "x", **headers: str) -> Answered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answered(status, named, b'{"error": {"code": "%b"}}' % code.encode())


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (answered(200), "done"), (answered(400), "done"), (answered(404), "done"), (answered(401), "denied"),
        (answered(429, retry_after="3"), "busy"), (answered(503), "busy"), (answered(429, "insufficient_quota"), "done"),
        (answered(409, retry_after="1"), "busy"), (answered(409), "done"), (answered(500), "broken"),
        (answered(502), "broken"), (answered(504), "broken"),
    ],
)  # fmt: skip
def test_what_an_answer_means(given: Answered, verdict: str):
    assert asking.verdict(given) == verdict


def test_whose_answer_it_is_and_how_long_to_wait():
    assert asking.wait_us(answered(429, retry_after="3")) == 3_000_000
    assert asking.wait_us(answered(429, retry_after="soon")) == 0
    assert asking.request_id(answered(200, x_request_id="b")) == "b"
    assert asking.request_id(answered(200, x_request_id="b", x_headrace_replayed="a")) == "a"
    assert asking.error(Answered(502, {}, b"<html>")) == {}
