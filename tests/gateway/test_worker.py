"""A worker's life: when its door opens, and how it closes."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import msgspec
import uvloop

from headrace.assembly.clock import SystemClock
from headrace.gateway import serve, worker
from headrace.gateway.client import Client
from headrace.settings import Settings
from headrace.state.table import Challenge, FromGateway, Report, Table
from headrace.stores.journal import FileJournal
from headrace.stores.repeats import FileRepeats
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import HI, PEPPER, World, post, replica, run, until, world


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_door_opens_once_there_is_a_table(tmp_path: Path):
    """A worker without keys would refuse, on the shared port, what its neighbour takes."""
    settings = Settings(home=tmp_path, listen=f"127.0.0.1:{free_port()}", gateways=1)
    for folder in (settings.run, settings.journals):
        folder.mkdir(parents=True, exist_ok=True)
    settings.pepper.write_text(PEPPER.hex())
    reports: list[Report] = []

    repeats = FileRepeats(settings.repeats, PEPPER, "e", lambda _: True)

    async def main() -> None:
        may_tell = asyncio.Event()

        async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(msgspec.json.encode(Challenge(nonce="n")) + b"\n")
            await may_tell.wait()
            table = Table(revision=7, models=(), replicas=(), keys=())
            writer.write(msgspec.json.encode(table) + b"\n")
            while line := await reader.readline():
                match msgspec.json.decode(line, type=FromGateway):
                    case Report() as report:
                        reports.append(report)
            writer.close()

        link = await asyncio.start_unix_server(control, str(settings.link_socket))
        serving = asyncio.ensure_future(
            serve.serve(settings, 0, FileJournal(settings.journals, "e"), repeats, "e", SystemClock())
        )
        await asyncio.sleep(0.2)
        assert not is_open(settings.port)
        may_tell.set()
        try:
            async with asyncio.timeout(10):
                while not is_open(settings.port) or not any(report.revision == 7 for report in reports):
                    await asyncio.sleep(0.01)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                await serving
            link.close()

    uvloop.run(main())
    assert not is_open(settings.port)


def drained(folder: Path, check) -> None:
    """A worker with one good replica, told to drain by the test."""

    async def work() -> None:
        async with StubUpstream(folder / "up", stub.truthful) as up, world(folder, [replica(0, up)]) as here:
            await check(here)

    run(work)


def test_who_came_just_before_the_end_is_served(tmp_path: Path):
    """Also one whose request is half here; then the connection closes. Who is idle is let go at once."""

    async def check(here: World) -> None:
        idle, new, half = [await here.line() for _ in range(3)]
        idle.send(post(HI))
        assert (await idle.answer()).status == 200
        data = post(HI)
        half.send(data[:-5])
        await until(lambda: len(here.worker.connections) == 3)
        draining = asyncio.ensure_future(here.worker.drain())
        assert await asyncio.wait_for(idle.closed(), worker.NEWCOMER_S / 2)
        new.send(data)
        half.send(data[-5:])
        for line in (new, half):
            assert (await line.answer()).status == 200
            assert await line.closed()
        await asyncio.wait_for(draining, worker.NEWCOMER_S)

    drained(tmp_path, check)


def test_who_came_and_says_nothing_is_not_waited_for_long(tmp_path: Path, monkeypatch):
    """A connection made in advance does not hold up the end."""
    monkeypatch.setattr(worker, "NEWCOMER_S", 0.1)

    async def check(here: World) -> None:
        line = await here.line()
        await until(lambda: here.worker.connections)
        await asyncio.wait_for(here.worker.drain(), 5)
        assert await line.closed()

    drained(tmp_path, check)


def test_who_has_knocked_is_taken_in_when_the_door_closes(tmp_path: Path):
    """Connected by the kernel and not yet accepted: without that it would be reset."""

    async def check(here: World) -> None:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: Client(here.worker), sock=door)
            with socket.create_connection(server.sockets[0].getsockname()) as line:
                line.sendall(post(HI))
                await serve._close_door(here.worker, server)
                line.setblocking(False)
                answer = await asyncio.wait_for(loop.sock_recv(line, 65536), 5)
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")

    drained(tmp_path, check)
