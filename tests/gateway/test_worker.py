"""A worker's life: when its door opens, and how it closes."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import msgspec
import uvloop

from headrace.assembly import SystemClock
from headrace.gateway import worker
from headrace.settings import Settings
from headrace.state.table import FromGateway, Report, Table
from headrace.stores.journal import FileJournal
from headrace.stores.repeats import FileRepeats
from tests.gateway.world import PEPPER


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
            worker.serve(settings, 0, FileJournal(settings.journals, "e"), repeats, "e", SystemClock())
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
