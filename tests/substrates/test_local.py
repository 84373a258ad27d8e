"""The controller's half: it comes back by itself, and says so when it cannot."""

import asyncio

import pytest

from headrace.errors import Unreachable
from headrace.ports import WorkerStatus
from headrace.substrates.local import LocalSubstrate
from tests.substrates import programs
from tests.substrates.programs import local, spec, status, until


def test_a_lost_connection_is_made_again_and_the_watch_goes_on(tmp_path):
    """What is asked meanwhile is asked again; all workers are told anew."""

    async def body() -> None:
        async with local(tmp_path) as client:
            substrate = client()
            await substrate.start()
            await substrate.launch(spec("one", programs.GOOD))
            before = await status(substrate, "one", "ready")
            news: list[WorkerStatus] = []

            async def listen() -> None:
                async for told in substrate.watch():
                    news.append(told)

            listening = asyncio.ensure_future(listen())
            await until(lambda: news)
            assert substrate._writer is not None
            substrate._writer.transport.abort()
            assert await substrate.workers() == [before]
            news.clear()
            await substrate.stop("one", 0)
            await until(lambda: news and news[-1].phase == "stopped")
            listening.cancel()

    asyncio.run(body())


def test_no_host_is_told_with_its_place(tmp_path):
    """At the start, as the error that names the socket."""
    settings = programs.home(tmp_path)
    with pytest.raises(Unreachable, match=r"host\.sock"):
        asyncio.run(LocalSubstrate(settings).start())


def test_a_host_that_stays_away_is_told_after_a_while(tmp_path, monkeypatch):
    """A call does not hang for ever."""
    monkeypatch.setattr("headrace.substrates.local.ANSWER_S", 0.1)
    settings = programs.home(tmp_path)

    async def body() -> None:
        gone = asyncio.Event()

        async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            gone.set()

        server = await asyncio.start_unix_server(deaf, str(settings.host_socket))
        substrate = LocalSubstrate(settings)
        await substrate.start()
        with pytest.raises(Unreachable, match="did not answer workers"):
            await substrate.workers()
        await substrate.close()
        await gone.wait()
        server.close()

    asyncio.run(body())
