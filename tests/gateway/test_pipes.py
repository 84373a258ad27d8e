"""What the runner is passed: uploads while they arrive, large answers at the client's pace, who asks with a proof."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from headrace.gateway import client, pipes
from headrace.state import keys
from tests.gateway.world import KEY, KEY_ID, PEPPER, World, get, post, run, until, world

Serve = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MIB = 1 << 20
GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@contextlib.asynccontextmanager
async def runner(here: World, serve: Serve) -> AsyncIterator[None]:
    """The other end of the pipe."""
    busy: set[asyncio.StreamWriter] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(writer)
        try:
            await serve(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        finally:
            writer.close()
            busy.discard(writer)

    server = await asyncio.start_unix_server(take, here.worker.settings.pipelines_socket)
    try:
        yield
        await until(lambda: not busy)
    finally:
        server.close()


def upload(length: int, *more: str) -> bytes:
    lines = ["POST /v1/files HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY}", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_an_upload_is_passed_on_while_it_arrives_and_never_held_whole(tmp_path: Path):
    """40 MiB to a runner that reads late: the gateway holds its sender back, and every byte arrives."""
    said: list[str] = []
    go = asyncio.Event()

    async def serve(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"content-length: %d\r\n" % (40 * MIB) in head
        assert f"x-headrace-key: {KEY_ID}\r\nx-headrace-tenant: t\r\nx-headrace-role: user".encode() in head
        assert f"x-headrace-proof: {keys.proof(PEPPER, keys.RUNNER)}".encode() in head
        await go.wait()
        digest, left = hashlib.sha256(), 40 * MIB
        while left:
            data = await reader.read(min(left, MIB))
            digest.update(data)
            left -= len(data)
        said.append(digest.hexdigest())
        writer.write(GOOD)

    async def work() -> None:
        async with world(tmp_path, []) as here, runner(here, serve):
            data = bytes(range(256)) * (40 * MIB // 256)
            line = await here.line()
            line.send(upload(len(data)) + data)
            await until(lambda: here.worker.connections)
            (at_work,) = here.worker.connections
            await until(lambda: at_work.upload is not None and at_work.upload._paused)
            assert len(at_work.upload._buffer) <= 2 * client.UPLOAD_BUFFER_BYTES + 256 * 1024
            assert here.worker.body_bytes == 0
            go.set()
            got = await asyncio.wait_for(line.answer(), 20)
            assert (got.status, said) == (200, [hashlib.sha256(data).hexdigest()])
            assert await line.closed()

    run(work)


def test_an_upload_that_is_refused_early_hears_why(tmp_path: Path):
    """The answer arrives although most of the body was never read."""
    refusal = b'HTTP/1.1 400 Bad\r\ncontent-length: 15\r\n\r\n{"error": "no"}'

    async def serve(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(refusal)

    async def work() -> None:
        async with world(tmp_path, []) as here, runner(here, serve):
            line = await here.line()
            line.send(upload(64 * MIB) + bytes(4 * MIB))
            got = await asyncio.wait_for(line.answer(), 10)
            assert (got.status, got.json) == (400, {"error": "no"})

    run(work)


def test_a_client_that_leaves_in_the_middle_breaks_its_upload_off(tmp_path: Path):
    """The runner sees the end of the connection, not a short file."""
    broke: list[int] = []

    async def serve(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broke.append(len(await reader.read(-1)))

    async def work() -> None:
        async with world(tmp_path, []) as here, runner(here, serve):
            line = await here.line()
            line.send(upload(MIB) + bytes(1000))
            await until(lambda: any(c.upload for c in here.worker.connections))
            line.close()
            await until(lambda: broke)
            assert broke[0] <= 1000

    run(work)


def test_too_much_is_refused_by_its_length_and_nobody_without_a_key_uploads(tmp_path: Path):
    """413 names the limit; other paths keep theirs; 401 before a byte is read."""

    async def work() -> None:
        async with world(tmp_path, []) as here:
            got = await here.raw(upload(600 * MIB))
            assert (got.status, got.json["error"]["code"]) == (413, "request_too_large")
            assert "513 MiB" in got.json["error"]["message"]
            got = await here.raw(upload(100 * MIB).replace(b"/v1/files", b"/v1/batches"))
            assert got.status == 413
            got = await here.raw(upload(100 * MIB).replace(KEY.encode(), b"hr-nobody"))
            assert (got.status, got.json["error"]["code"]) == (401, "invalid_api_key")

    run(work)


def test_a_large_answer_waits_for_its_reader(tmp_path: Path):
    """A client that does not read holds the runner back, and then gets all of it."""
    sent = [0]

    async def serve(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 * MIB))
        for _ in range(32):
            writer.write(bytes(MIB))
            await writer.drain()
            sent[0] += MIB

    async def work() -> None:
        async with world(tmp_path, []) as here, runner(here, serve):
            line = await here.line()
            line.writer.transport.pause_reading()
            line.send(get("/v1/files/file-1/content"))
            await until(lambda: any(c.slow for c in here.worker.connections))
            (at_work,) = here.worker.connections
            held = sent[0]
            assert at_work.transport.get_write_buffer_size() < 4 * MIB
            assert held < 32 * MIB
            line.writer.transport.resume_reading()
            assert len((await asyncio.wait_for(line.answer(), 20)).body) == 32 * MIB

    run(work)


def test_every_path_and_method_of_the_runner_reaches_it(tmp_path: Path):
    """DELETE too; a path that only begins alike does not."""
    asked: list[str] = []

    async def serve(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(" ".join(head.decode().split("\r\n", 1)[0].split(" ")[:2]))
        writer.write(GOOD)

    async def work() -> None:
        async with world(tmp_path, []) as here, runner(here, serve):
            for method, path in (("DELETE", "/v1/files/f"), ("GET", "/v1/batches?limit=2"), ("GET", "/v1/videos/v"),
                                 ("GET", "/v1/responses/r"), ("DELETE", "/mcp"), ("GET", "/headrace/v1/runs")):  # fmt: skip
                assert (await here.raw(get(path, method=method))).status == 200
            assert (await here.raw(post({"a": 1}, "/v1/batches"))).json == {}
            assert (await here.raw(get("/v1/filesystem"))).status == 404
            assert asked == [
                "DELETE /v1/files/f", "GET /v1/batches?limit=2", "GET /v1/videos/v", "GET /v1/responses/r",
                "DELETE /mcp", "GET /headrace/v1/runs", "POST /v1/batches",
            ]  # fmt: skip

    run(work)


def test_a_runner_that_comes_back_soon_is_waited_for(tmp_path: Path):
    """Who asks while it begins, or while its successor does, sees a delay and no error; an upload arrives whole."""

    async def serve(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"POST"):
            assert len(await reader.readexactly(MIB)) == MIB
        writer.write(GOOD)

    async def work() -> None:
        async with world(tmp_path, []) as here:
            asked = [asyncio.ensure_future(here.raw(data)) for data in (get("/v1/files"), upload(MIB) + bytes(MIB))]
            await until(lambda: sum(line.work is not None for line in here.worker.connections) == 2)
            async with runner(here, serve):
                assert [got.status for got in await asyncio.gather(*asked)] == [200, 200]

    run(work)


def test_a_runner_that_is_away_is_told_with_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """503 and Retry-After; for an upload as well."""
    monkeypatch.setattr(pipes, "AWAY_S", 0.1)

    async def work() -> None:
        async with world(tmp_path, []) as here:
            for data in (get("/v1/files"), upload(MIB) + bytes(1000)):
                got = await here.raw(data)
                assert (got.status, got.headers["retry-after"]) == (503, "1")
                assert json.loads(got.body)["error"]["code"] == "stopping"

    run(work)
