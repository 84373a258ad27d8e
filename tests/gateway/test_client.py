"""The client's side over real sockets: what is refused and how, time, memory, and connections that stay in step."""

import asyncio
import json
from pathlib import Path

import pytest

from headrace.gateway import client, http1
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import CHAT, HI, KEY, World, get, post, replica, run, until, world

AUTH = f"Authorization: Bearer {KEY}"


def here(folder: Path, check) -> None:
    """A world with one truthful replica, and the proof of what reached it."""

    async def work() -> None:
        async with StubUpstream(folder / "up", stub.truthful) as up, world(folder, [replica(0, up)]) as found:
            await check(found, up)

    run(work)


def head(*lines: str, first: str = f"POST {CHAT} HTTP/1.1") -> bytes:
    return ("\r\n".join([first, *lines]) + "\r\n\r\n").encode("latin-1")


SHAPES = {
    "two lengths": (head("Host: x", AUTH, "Content-Length: 2", "Content-Length: 3") + b"{}", 400),
    "a length and chunks": (head("Host: x", AUTH, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "an unknown coding": (head("Host: x", AUTH, "Transfer-Encoding: gzip") + b"x", 501),
    "a bare CR": (head("Host: x", "A: b\rC: d", AUTH), 400),
    "bare LFs": (b"POST / HTTP/1.1\nHost: x\n\n", 400),
    "no host": (head(AUTH), 400),
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "a chunk with a sign": (head("Host: x", AUTH, "Transfer-Encoding: chunked") + b"-1\r\n\r\n", 400),
    "a chunk that is too long": (head("Host: x", AUTH, "Transfer-Encoding: chunked") + b"1\r\n{}\r\n0\r\n\r\n", 400),
    "a long target": (head("Host: x", first="GET /" + "a" * 9000 + " HTTP/1.1"), 414),
    "many headers": (head("Host: x", *["A: b"] * 200), 431),
    "a large header": (head("Host: x", "A: " + "b" * 40_000), 431),
    "an announced giant": (head("Host: x", AUTH, f"Content-Length: {1 << 40}"), 413),
    "a chunked giant": (head("Host: x", AUTH, "Transfer-Encoding: chunked") + b"7fffffff\r\n", 413),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_bad_shape_is_refused_and_ends_the_connection(tmp_path: Path, name: str):
    """The right 4xx with OpenAI's error object; what follows is never read as a request; no engine is touched."""
    data, status = SHAPES[name]

    async def check(found: World, up: StubUpstream) -> None:
        line = await found.line()
        line.send(data + post(HI))
        got = await asyncio.wait_for(line.answer(), 5)
        assert got.status == status
        assert sorted(got.json["error"]) == ["code", "message", "param", "type"]
        assert got.headers["connection"] == "close"
        assert await asyncio.wait_for(line.closed(), 5)
        assert up.asked == []

    here(tmp_path, check)


def test_sixteen_mebibytes_of_head_are_refused_without_being_kept(tmp_path: Path):
    """431 arrives although the client is still sending."""

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * (16 << 20))
        assert (await asyncio.wait_for(line.answer(), 5)).status == 431
        assert all(len(c._data) <= http1.HEAD_BYTES_MAX for c in found.worker.connections)

    here(tmp_path, check)


def test_nobody_without_a_key_gets_a_body_read(tmp_path: Path):
    """401 at the head, the body unread; with a key it is asked for."""

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(head("Host: x", "Content-Length: 1000000", "Expect: 100-continue"))
        got = await asyncio.wait_for(line.answer(), 5)
        assert (got.status, got.json["error"]["code"]) == (401, "invalid_api_key")
        assert found.worker.body_bytes == 0
        line = await found.line()
        body = json.dumps(HI).encode()
        line.send(head("Host: x", AUTH, f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.send(body)
        assert (await line.answer()).status == 200

    here(tmp_path, check)


def test_bodies_together_are_bounded(tmp_path: Path, monkeypatch):
    """When as much is being received as may be, the next one is told to come back."""
    monkeypatch.setattr("headrace.gateway.worker.BODIES_BYTES_MAX", 1000)

    async def check(found: World, _: StubUpstream) -> None:
        first = await found.line()
        first.send(head("Host: x", AUTH, "Content-Length: 3000") + b" " * 2000)
        await until(lambda: found.worker.body_bytes == 2000)
        second = await found.line()
        second.send(head("Host: x", AUTH, "Content-Length: 3000") + b" ")
        got = await second.answer()
        assert (got.status, got.headers["retry-after"]) == (503, "1")
        first.close()
        await until(lambda: found.worker.body_bytes == 0)

    here(tmp_path, check)


@pytest.mark.parametrize("cut", [1, 7, 64, 1000])
def test_a_request_may_come_in_any_pieces(tmp_path: Path, cut: int):
    """By length and chunked, byte by byte or at once."""
    body = json.dumps(HI).encode()
    framed = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 9]), body[at : at + 9]) for at in range(0, len(body), 9))
    whole = post(HI) + head("Host: x", AUTH, "Transfer-Encoding: chunked") + framed + b"0\r\n\r\n" + get("/health")

    async def check(found: World, up: StubUpstream) -> None:
        line = await found.line()
        for at in range(0, len(whole), cut):
            line.send(whole[at : at + cut])
            await asyncio.sleep(0)
        assert [(await line.answer()).status for _ in range(3)] == [200, 200, 200]
        assert up.asked[0].body == up.asked[1].body

    here(tmp_path, check)


# --- time ---------------------------------------------------------------------------------------------------------

SLOW = {
    "nothing at all": (b"", None),
    "half a head": (b"GET / HTTP/1.1\r\nHost: x\r\n", 408),
    "half a head after a request": (get("/health") + b"GET / HT", 408),
    "half a body": (post(HI)[:-3], 408),
    "half a chunk": (head("Host: x", AUTH, "Transfer-Encoding: chunked") + b"5\r\nab", 408),
}


@pytest.mark.parametrize("name", SLOW)
def test_what_does_not_come_in_time_is_not_waited_for(tmp_path: Path, monkeypatch, name: str):
    """408 where something had begun, a plain end where nothing had."""
    monkeypatch.setattr(client, "HEAD_S", 0.05)
    monkeypatch.setattr(client, "BODY_S_LEAST", 0.05)
    monkeypatch.setattr(client, "BODY_BYTES_PER_S_MIN", 1 << 30)
    data, status = SLOW[name]

    async def check(found: World, up: StubUpstream) -> None:
        line = await found.line()
        line.send(data)
        if data.startswith(get("/health")):
            assert (await line.answer()).status == 200
        if status:
            got = await asyncio.wait_for(line.answer(), 5)
            assert (got.status, got.json["error"]["code"]) == (status, "request_timeout")
        assert await asyncio.wait_for(line.closed(), 5)
        await until(lambda: not found.worker.connections)
        assert up.asked == []

    here(tmp_path, check)


def test_a_trickle_is_cut_by_its_rate(tmp_path: Path, monkeypatch):
    """A byte now and then does not keep a body open: what counts is the rate."""
    monkeypatch.setattr(client, "BODY_S_LEAST", 0.3)

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(head("Host: x", AUTH, "Content-Length: 1000000"))
        reading = asyncio.ensure_future(line.answer())
        for _ in range(500):
            if reading.done():
                break
            line.send(b" ")
            await asyncio.sleep(0.01)
        assert (await reading).status == 408

    here(tmp_path, check)


def test_a_body_that_keeps_the_rate_may_take_its_time(tmp_path: Path, monkeypatch):
    """Well above the floor, beyond the first allowance."""
    monkeypatch.setattr(client, "BODY_S_LEAST", 0.3)
    body = json.dumps(HI).encode().ljust(4000)

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(head("Host: x", AUTH, f"Content-Length: {len(body)}"))
        for at in range(0, len(body), 100):
            line.send(body[at : at + 100])
            await asyncio.sleep(0.015)
        assert (await line.answer()).status == 200

    here(tmp_path, check)


def test_an_idle_connection_ends_and_a_used_one_stays(tmp_path: Path, monkeypatch):
    """Keep-alive has its own, longer time."""
    monkeypatch.setattr(client, "HEAD_S", 0.05)
    monkeypatch.setattr(client, "IDLE_S", 0.6)

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(get("/health"))
        assert (await line.answer()).status == 200
        await asyncio.sleep(0.35)  # longer than a head may take: nothing has begun, so nothing is late
        line.send(get("/health"))
        assert (await line.answer()).status == 200
        assert await asyncio.wait_for(line.closed(), 5)

    here(tmp_path, check)


def test_a_client_that_does_not_take_its_last_answer_is_let_go(tmp_path: Path, monkeypatch):
    """An answer that nobody reads does not hold its connection for ever, even once it is closing."""
    monkeypatch.setattr(client, "WRITE_STALL_S", 0.2)

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.writer.transport.pause_reading()
        ask = head("Host: x", AUTH, first="GET /v1/models/nothing" + "x" * 7000 + " HTTP/1.1")
        line.send(ask * 3000 + head("Host: x", "Connection: close", first="GET /health HTTP/1.1"))
        await until(lambda: found.worker.connections)
        await until(lambda: not found.worker.connections, 10)

    here(tmp_path, check)


# --- bounds -------------------------------------------------------------------------------------------------------


def test_connections_are_bounded(tmp_path: Path):
    """One more than may be is closed; when one leaves, the next is served."""

    async def check(found: World, _: StubUpstream) -> None:
        found.worker.connections_max = 2
        lines = [await found.line() for _ in range(2)]
        for line in lines:
            line.send(get("/health"))
            assert (await line.answer()).status == 200
        third = await found.line()
        assert await asyncio.wait_for(third.closed(), 5)
        lines[0].close()
        await until(lambda: len(found.worker.connections) == 1)
        assert (await found.raw(get("/health"))).status == 200

    here(tmp_path, check)


def test_requests_that_are_answered_at_once_are_kept_within_bounds_too(tmp_path: Path):
    """Thousands of them in one breath, of somebody without a key: each is answered, and few wait in memory."""

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(head("Host: x", "X-Filler: " + "x" * 7000, first="GET /health HTTP/1.1") * 2000)
        await until(lambda: found.worker.connections)
        (served,) = found.worker.connections
        most_bytes = 0
        for _ in range(2000):
            assert (await line.answer()).status == 200
            most_bytes = max(most_bytes, len(served._data))
        assert most_bytes <= client.AHEAD_BYTES_MAX + (256 << 10), "and what one read brings"

    here(tmp_path, check)


def test_what_is_sent_ahead_is_kept_within_bounds(tmp_path: Path):
    """A client that floods while its request is at work is not read on."""

    async def check(found: World, up: StubUpstream) -> None:
        up.behave = stub.silent
        line = await found.line()
        line.send(post(HI))
        await until(lambda: up.asked)
        line.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000)
        await until(lambda: any(c._held for c in found.worker.connections))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert max(len(c._data) for c in found.worker.connections) <= client.AHEAD_BYTES_MAX + (256 << 10)
        await up.die()

    here(tmp_path, check)


# --- other shapes -------------------------------------------------------------------------------------------------


def test_http_1_0_gets_a_stream_that_ends_with_its_connection(tmp_path: Path):
    """No chunks; `[DONE]` and then the end."""

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        body = json.dumps({**HI, "stream": True})
        line.send(head(AUTH, f"Content-Length: {len(body)}", first=f"POST {CHAT} HTTP/1.0") + body.encode())
        got = await asyncio.wait_for(line.answer(), 5)
        assert "transfer-encoding" not in got.headers
        assert got.text == "Paris"
        assert got.events[-1] == "data: [DONE]"

    here(tmp_path, check)


def test_a_connection_closes_when_asked(tmp_path: Path):
    """`Connection: close` is obeyed after the answer."""

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(post(HI, CHAT, KEY, "Connection: close"))
        assert (await line.answer()).status == 200
        assert await asyncio.wait_for(line.closed(), 5)

    here(tmp_path, check)


def test_head_has_no_body(tmp_path: Path):
    """The head of an answer and nothing more, so that the next answer begins where the client looks for it."""

    async def check(found: World, _: StubUpstream) -> None:
        line = await found.line()
        line.send(get("/health", method="HEAD") + get("/v1/models", method="HEAD") + get("/health"))
        assert (await line.head())[0] == 200
        assert (await line.head())[0] == 405
        assert (await line.answer()).json == {"status": "ok"}

    here(tmp_path, check)


def test_a_mistake_of_ours_costs_one_request(tmp_path: Path):
    """500 with its id, without its words; the worker goes on."""

    async def check(found: World, _: StubUpstream) -> None:
        find, found.worker.directory.find = found.worker.directory.find, lambda *_: 1 / 0  # type: ignore[assignment]
        got = await found.ask(HI)
        assert (got.status, got.json["error"]["code"]) == (500, "internal_error")
        assert got.headers["x-request-id"].startswith("req_")
        assert "division" not in got.body.decode()
        found.worker.directory.find = find  # type: ignore[method-assign]
        assert (await found.ask(HI)).status == 200

    here(tmp_path, check)
