"""Administration through the public door: written anew both ways, bounded, and honest when nobody is there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headrace.gateway import relay
from tests.gateway.world import KEY, World, get, run, until, world

Say = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def admin(folder: Path, say: Say | None, check) -> None:
    """A world whose controller's door is served by `say`, or by nobody."""

    async def work() -> None:
        async with world(folder, []) as here:
            asked: list[bytes] = []
            serving: set[asyncio.StreamWriter] = set()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                serving.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                asked.append(head + await reader.readexactly(length))
                assert say is not None
                await say(asked[-1], writer)
                writer.close()
                serving.discard(writer)

            server = await asyncio.start_unix_server(serve, here.worker.settings.admin_socket) if say else None
            try:
                await check(here, asked)
                await until(lambda: not serving)
            finally:
                if server:
                    server.close()

    run(work)


def saying(data: bytes) -> Say:
    async def say(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return say


BY_LENGTH = b'HTTP/1.1 201 X\r\nContent-Type: application/json\r\nETag: "5"\r\nServer: secret\r\nContent-Length: 8\r\n\r\n{"a": 1}'
CHUNKED = b'HTTP/1.1 201 X\r\netag: "5"\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n'
TO_THE_END = b'HTTP/1.1 201 X\r\netag: "5"\r\n\r\n{"a": 1}'


@pytest.mark.parametrize("data", [BY_LENGTH, CHUNKED, TO_THE_END])
def test_a_request_and_its_answer_pass(tmp_path: Path, data: bytes):
    """Path, query, body and the headers that matter go in; status, body and few headers come out."""

    async def check(here: World, asked: list[bytes]) -> None:
        got = await here.ask(b"a: 1", "/headrace/v1/apply?dry_run=true", "Content-Type: application/yaml", "Cookie: c")
        assert (got.status, got.json) == (201, {"a": 1})
        assert got.headers["etag"] == '"5"'
        assert "server" not in {name.lower() for name in got.headers}
        assert got.headers["x-request-id"].startswith("req_")
        head, _, body = asked[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /headrace/v1/apply?dry_run=true HTTP/1.1\r\n")
        assert b"authorization: Bearer " + KEY.encode() in head
        assert b"content-type: application/yaml" in head
        assert b"cookie" not in head.lower()
        assert body == b"a: 1"

    admin(tmp_path, saying(data), check)


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 xyz OK\r\n\r\n", BY_LENGTH[:-3], CHUNKED[:-3], b"HTTP/1.1 200 X\r\ncontent-length: -1\r\n\r\n", b"x" * 100_000],
)  # fmt: skip
def test_a_controller_that_breaks_off_is_told_as_such(tmp_path: Path, data: bytes):
    """503 with Retry-After, and the connection goes on."""

    async def check(here: World, _: list[bytes]) -> None:
        line = await here.line()
        for _ in range(2):
            line.send(get("/headrace/v1/status"))
            got = await asyncio.wait_for(line.answer(), 5)
            assert (got.status, got.headers["retry-after"]) == (503, "1")
        line.send(get("/health"))
        assert (await line.answer()).status == 200

    admin(tmp_path, saying(data), check)


def test_a_controller_that_is_away_stops_nothing_else(tmp_path: Path):
    """503 for administration; models are listed all the same."""

    async def check(here: World, _: list[bytes]) -> None:
        assert (await here.raw(get("/metrics"))).status == 503
        assert (await here.raw(get("/v1/models"))).json["data"][0]["id"] == "m"

    admin(tmp_path, None, check)


def test_a_controller_that_hangs_is_not_waited_for_long(tmp_path: Path, monkeypatch):
    """The relay has its time."""
    monkeypatch.setattr(relay, "ANSWER_S", 0.05)

    async def hang(_: bytes, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)  # longer than the relay waits

    async def check(here: World, _: list[bytes]) -> None:
        assert (await here.raw(get("/openapi.json"))).status == 503

    admin(tmp_path, hang, check)


def test_bodies_are_bounded(tmp_path: Path, monkeypatch):
    """413 before the controller hears of it."""
    monkeypatch.setattr(relay, "BODY_BYTES_MAX", 100)

    async def check(here: World, asked: list[bytes]) -> None:
        assert (await here.ask(b"x" * 101, "/headrace/v1/check")).status == 413
        assert asked == []

    admin(tmp_path, saying(BY_LENGTH), check)


def test_nobody_without_a_key_reaches_the_controller(tmp_path: Path):
    """Not even the description."""

    async def check(here: World, asked: list[bytes]) -> None:
        for path in ("/headrace/v1/status", "/metrics", "/openapi.json"):
            assert (await here.raw(get(path, key="hr-no"))).status == 401
        assert asked == []

    admin(tmp_path, saying(BY_LENGTH), check)


@pytest.mark.parametrize("path", ["/headrac/v1/status", "/metricsx", "/v1/headrace/v1/status", "/", "/v1"])
def test_other_paths_are_not_relayed(tmp_path: Path, path: str):
    """404 with what is served."""

    async def check(here: World, asked: list[bytes]) -> None:
        got = await here.raw(get(path))
        assert (got.status, got.json["error"]["code"]) == (404, "not_found")
        assert asked == []

    admin(tmp_path, saying(BY_LENGTH), check)
