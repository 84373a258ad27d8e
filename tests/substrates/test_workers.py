"""The host's socket: strict in what it takes, and not held up by who does not read."""

import asyncio
import json

import pytest

from headrace.ports import WorkerStatus
from headrace.substrates.workers import UNREAD_BYTES_MAX, Workers
from tests.substrates import programs
from tests.substrates.programs import until


def asked(tmp_path, *lines: bytes) -> list[dict]:
    """The answers to these lines, until the connection is closed or all are answered."""
    settings = programs.home(tmp_path)

    async def body() -> list[dict]:
        workers = Workers(settings.logs, settings.home / "scratch", lambda peer: True)
        server = await asyncio.start_unix_server(workers.answer, str(settings.host_socket), limit=1 << 16)
        reader, writer = await asyncio.open_unix_connection(settings.host_socket)
        writer.write(b"".join(line + b"\n" for line in lines))
        writer.write_eof()
        found = [json.loads(line) for line in (await reader.read()).splitlines()]
        writer.close()
        await workers.stop_all(0)
        server.close()
        return found

    return asyncio.run(body())


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"id": "x", "op": "workers"}', b"\xff", b"x" * 70_000])
def test_a_line_that_cannot_be_read_ends_the_connection(tmp_path, line):
    """What came before it is answered, and nothing after it."""
    good = b'{"id": 1, "op": "workers"}'
    assert asked(tmp_path, good, line, good) == [{"id": 1, "ok": []}]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"id": 7, "op": "dance"}', "unknown operation 'dance'"),
        (b'{"id": 7, "op": "launch"}', "a launch needs a worker's spec"),
        (b'{"id": 7, "op": "launch", "spec": {"id": "../x", "argv": ["true"]}}', "an id that can name a file"),
        (b'{"id": 7, "op": "launch", "spec": {"id": "x", "argv": []}}', "a launch needs a worker's spec"),
        (b'{"id": 7, "op": "logs", "worker": "../headrace"}', "there is no worker '../headrace'"),
    ],
)
def test_what_cannot_be_done_is_told(tmp_path, line, error):
    """By the number of the question; the connection goes on."""
    first, second = asked(tmp_path, line, b'{"id": 8, "op": "workers"}')
    assert (first["id"], error in first["error"]) == (7, True)
    assert second == {"id": 8, "ok": []}


def test_stopping_or_killing_nobody_is_no_error(tmp_path):
    """The wish is already true."""
    lines = [b'{"id": 1, "op": "stop", "worker": "x"}', b'{"id": 2, "op": "kill", "worker": "x", "incarnation": "i"}']
    assert asked(tmp_path, *lines) == [{"id": 1, "ok": None}, {"id": 2, "ok": None}]


def test_a_watcher_that_does_not_read_is_cut_off(tmp_path):
    """The host's memory is bounded; it would ask again."""
    settings = programs.home(tmp_path)

    async def body() -> None:
        workers = Workers(settings.logs, settings.home / "scratch", lambda peer: True)
        server = await asyncio.start_unix_server(workers.answer, str(settings.host_socket))
        _, writer = await asyncio.open_unix_connection(settings.host_socket, limit=1 << 10)
        writer.write(b'{"id": 1, "op": "watch"}\n')
        await until(lambda: workers._watchers)
        news = WorkerStatus(id="x", phase="ready", reason="x" * 10_000)
        for _ in range(2 * UNREAD_BYTES_MAX // 10_000):
            workers._tell(news)
        assert not workers._watchers
        writer.close()
        server.close()

    asyncio.run(body())
