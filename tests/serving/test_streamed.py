"""Answers that are read while they come, however they are cut; what breaks off is told."""

import asyncio

import pytest

from headrace.errors import Unreachable
from headrace.serving.loopback import Loopback

PEPPER = bytes(range(32))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nX-A: b\r\ntransfer-encoding: chunked\r\n\r\n"


def answered(*parts: bytes):
    """What the loopback reads of a gateway that answers so: status, headers, events."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    async def work():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            loopback = Loopback("127.0.0.1", server.sockets[0].getsockname()[1], PEPPER)
            stream = await loopback.stream("/x", key="k", data=b"{}", headers={})
            try:
                if stream.status != 200:
                    return stream.status, stream.headers, [await stream.whole()]
                return stream.status, stream.headers, [event async for event in stream.events()]
            finally:
                stream.close()

    return asyncio.run(work())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_events_are_whole_however_they_are_cut():
    """Comments too; nothing of an event is told before its end."""
    said = b": waiting\n\nevent: a\ndata: 1\n\nevent: b\ndata: \xc3\xa9\n\n"
    for size in (1, 7, 1000):
        cut = [chunk(said[at : at + size]) for at in range(0, len(said), size)]
        status, headers, events = answered(HEAD, *cut, b"0\r\n\r\n")
        assert (status, headers["x-a"]) == (200, "b")
        assert events == [b": waiting\n\n", b"event: a\ndata: 1\n\n", b"event: b\ndata: \xc3\xa9\n\n"]


def test_a_refusal_is_read_whole():
    status, _, (body,) = answered(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
    assert (status, body) == (404, b"{}")


@pytest.mark.parametrize("parts", [(HEAD, chunk(b"event: a\n\n")), (HEAD, b"zz\r\n"), (HEAD[:9],), ()])
def test_what_breaks_off_is_told(parts: tuple[bytes, ...]):
    with pytest.raises(Unreachable):
        answered(*parts)


def test_a_gateway_that_is_not_there():
    async def work() -> None:
        await Loopback("127.0.0.1", 1, PEPPER).stream("/x", key="k", data=b"", headers={})

    with pytest.raises(Unreachable):
        asyncio.run(work())
