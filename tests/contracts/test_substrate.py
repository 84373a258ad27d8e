"""What every Substrate promises, on real processes. A further adapter adds one line to `PLACES`."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Permanent
from headrace.ports import Rest, Substrate
from tests.substrates import programs
from tests.substrates.programs import alive, spec, status, until

PLACES: dict[str, Any] = {"local": programs.local}
Maker = Callable[[], Substrate]


@pytest.fixture(params=sorted(PLACES))
def within(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Callable[[Maker], Awaitable[None]]], None]:
    """Runs a test's body with a maker of clients of one place."""

    def run(body: Callable[[Maker], Awaitable[None]]) -> None:
        async def inside() -> None:
            async with PLACES[request.param](tmp_path) as client:
                await body(client)

        asyncio.run(inside())

    return run


async def connected(client: Maker) -> Substrate:
    substrate = client()
    await substrate.start()
    return substrate


def test_a_worker_launched_twice_is_one_process(within):
    """`launch` is idempotent by id, whatever the second spec says."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.GOOD, labels={"model": "m"}))
        first = await status(substrate, "one", "ready")
        await substrate.launch(spec("one", programs.GOOD))
        assert await substrate.workers() == [first]
        assert first.labels == {"model": "m"}

    within(body)


def test_a_crashed_worker_is_started_again_with_a_new_incarnation(within):
    """The death is told at once with its cause, then the next start."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.GOOD))
        first = await status(substrate, "one", "ready")
        os.kill(first.pid, signal.SIGKILL)
        told = await status(substrate, "one", "starting", after=first.incarnation)
        assert told.reason == "was ended by SIGKILL"
        second = await status(substrate, "one", "ready", after=first.incarnation)
        assert (second.restarts, second.pid != first.pid) == (1, True)
        assert second.ready_us >= second.started_us > first.started_us

    within(body)


@pytest.mark.parametrize("code", [programs.CRASH, programs.READY_THEN_CRASH, "this is no Python"])
def test_a_worker_that_keeps_crashing_is_given_up(within, code):
    """After `fast_crashes_max` deaths in a row it is failed, and stays so until it is stopped."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", code, fast_crashes_max=2))
        failed = await status(substrate, "one", "failed")
        assert (failed.pid, failed.restarts) == (0, 1)
        assert "exited with status" in failed.reason
        await substrate.launch(spec("one", code))
        assert [worker.phase for worker in await substrate.workers()] == ["failed"]
        await substrate.stop("one", 0)
        await until_gone(substrate)

    within(body)


async def until_gone(substrate: Substrate) -> None:
    async with asyncio.timeout(10):
        while await substrate.workers():
            await asyncio.sleep(0.01)


def test_a_program_that_is_not_there_is_failed_and_says_so(within):
    """No process ever starts; the reason names the cause."""

    async def body(client):
        substrate = await connected(client)
        unknown = spec("one", "", fast_crashes_max=1)
        await substrate.launch(type(unknown)(id="one", argv=("/nowhere/engine",), fast_crashes_max=1))
        assert "could not be started: No such file" in (await status(substrate, "one", "failed")).reason

    within(body)


def test_a_worker_that_is_never_ready_is_ended_after_its_time(within):
    """`start_timeout_us` bounds the start; it counts as a crash."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.NEVER, start_timeout_us=200_000, fast_crashes_max=1))
        pid = (await status(substrate, "one", "starting")).pid
        assert "was not ready within" in (await status(substrate, "one", "failed")).reason
        assert not alive(pid)

    within(body)


@pytest.mark.parametrize("code", [programs.GOOD, programs.NEVER, programs.STUBBORN])
def test_a_stopped_worker_ends_and_is_forgotten(within, code):
    """Ready, still starting, or deaf to SIGTERM: within the grace it is gone, and `watch` tells so."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", code))
        pid = (await status(substrate, "one", "starting" if code is programs.NEVER else "ready")).pid
        watched = asyncio.ensure_future(status(substrate, "one", "stopped"))
        await asyncio.sleep(0)
        await substrate.stop("one", 200_000)
        assert (await watched).pid == 0
        await until_gone(substrate)
        assert not alive(pid)
        await substrate.stop("one", 0)

    within(body)


def test_a_worker_launched_while_it_stops_runs_again(within):
    """The wish that came last is the one that holds."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.STUBBORN))
        first = await status(substrate, "one", "ready")
        await substrate.stop("one", 100_000)
        await substrate.launch(spec("one", programs.GOOD))
        second = await status(substrate, "one", "ready", after=first.incarnation)
        assert (alive(first.pid), alive(second.pid)) == (False, True)

    within(body)


def test_workers_outlive_their_client_and_a_second_one_adopts_them(within):
    """`close` lets go; the same incarnation is found, with its labels."""

    async def body(client):
        first = await connected(client)
        await first.launch(spec("one", programs.GOOD, labels={"digest": "d"}))
        before = await status(first, "one", "ready")
        await first.close()
        second = await connected(client)
        assert await second.workers() == [before]
        assert await status(second, "one", "ready") == before

    within(body)


def test_only_the_incarnation_that_is_meant_is_killed(within):
    """Late news of an old one harms nobody; the right one is replaced, and the reason kept."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.GOOD))
        first = await status(substrate, "one", "ready")
        await substrate.kill("one", "an-older-one", "stale")
        await substrate.kill("nobody", first.incarnation, "unknown")
        assert await substrate.workers() == [first]
        await substrate.kill("one", first.incarnation, "it hung")
        assert (await status(substrate, "one", "starting", after=first.incarnation)).reason == "it hung"
        assert (await status(substrate, "one", "ready", after=first.incarnation)).restarts == 1

    within(body)


def test_the_log_holds_what_a_worker_printed(within):
    """Standard output and error alike; also of a worker that is gone; nobody's log is told as missing."""

    async def body(client):
        substrate = await connected(client)
        code = (
            programs.SAY_READY
            + "print('loading', flush=True); print('hm', file=sys.stderr, flush=True); ready(); time.sleep(600)"
        )
        await substrate.launch(spec("one", code))
        await status(substrate, "one", "ready")
        assert (await substrate.logs("one", 3))[:2] == ["loading", "hm"]
        await substrate.stop("one", 100_000)
        await until_gone(substrate)
        assert "loading" in await substrate.logs("one")
        with pytest.raises(Permanent, match="no worker 'nobody'"):
            await substrate.logs("nobody")

    within(body)


def test_a_watch_tells_all_workers_first(within):
    """Whoever comes late sees the whole state."""

    async def body(client):
        substrate = await connected(client)
        for name in ("one", "two"):
            await substrate.launch(spec(name, programs.GOOD))
            await status(substrate, name, "ready")
        seen: set[str] = set()
        async with asyncio.timeout(5):
            async for told in substrate.watch():
                seen.add(f"{told.id} {told.phase}")
                if len(seen) == 2:
                    break
        assert seen == {"one ready", "two ready"}

    within(body)


def test_a_program_without_a_ready_line_is_ready_when_its_path_answers(within, tmp_path):
    """`ready_path` is asked over HTTP at its own address."""

    async def body(client):
        substrate = await connected(client)
        port = programs.free_port()
        code = (
            "import http.server as h, sys\n"
            "class A(h.BaseHTTPRequestHandler):\n"
            "    def do_GET(self): self.send_response(200 if self.path == '/health' else 404); self.end_headers()\n"
            "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), A).serve_forever()"
        )
        address = f"http://127.0.0.1:{port}"
        await substrate.launch(spec("one", code, str(port), address=address, ready_path="/health"))
        assert (await status(substrate, "one", "ready")).address == address

    within(body)


def test_the_machine_is_a_device(within):
    """At least one CPU device with memory and CPUs."""

    async def body(client):
        (cpu, *_) = await (await connected(client)).devices()
        assert (cpu.device, cpu.memory_bytes > 0, cpu.cpus > 0) == ("cpu", True, True)

    within(body)


def test_an_end_is_noticed_at_once(within):
    """Not polled for: the news comes well before any back-off is over."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.GOOD))
        first = await status(substrate, "one", "ready")
        news: list[Any] = []

        async def listen() -> None:
            async for told in substrate.watch():
                news.append(told)

        listening = asyncio.ensure_future(listen())
        await until(lambda: news)
        loop = asyncio.get_running_loop()
        start = loop.time()
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: news[-1].incarnation != first.incarnation)
        assert loop.time() - start < 1
        listening.cancel()

    within(body)


def test_a_worker_sleeps_and_wakes_as_another_incarnation_of_the_same_process(within):
    """Each stretch has its own name, so that what was known of the one before is not believed of it."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.RESTS, rest=Rest()))
        first = await status(substrate, "one", "ready")
        await substrate.sleep("one", "another")
        await substrate.sleep("one", first.incarnation)
        asleep = await status(substrate, "one", "asleep")
        assert (asleep.pid, asleep.incarnation != first.incarnation) == (first.pid, True)
        await substrate.sleep("one", asleep.incarnation)
        await substrate.wake("one", first.incarnation)
        await substrate.wake("one", asleep.incarnation)
        again = await status(substrate, "one", "ready", after=first.incarnation)
        assert (again.pid, again.woken, again.restarts) == (first.pid, True, 0)
        assert again.started_us <= again.ready_us
        assert len({first.incarnation, asleep.incarnation, again.incarnation}) == 3

    within(body)


def test_a_worker_that_dies_asleep_is_forgotten_and_one_that_dies_awake_again_is_not(within):
    """Nobody waits for a sleeper; who was woken is waited for."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.RESTS, rest=Rest()))
        await substrate.sleep("one", (await status(substrate, "one", "ready")).incarnation)
        async with asyncio.timeout(20):
            async for told in substrate.watch():
                if told.phase == "asleep":
                    os.kill(told.pid, signal.SIGKILL)
                elif told.phase == "stopped":
                    break
        assert "SIGKILL while it slept" in told.reason
        assert await substrate.workers() == []
        await substrate.launch(spec("one", programs.RESTS, rest=Rest()))
        await substrate.sleep("one", (await status(substrate, "one", "ready")).incarnation)
        await substrate.wake("one", (await status(substrate, "one", "asleep")).incarnation)
        woken = await status(substrate, "one", "ready")
        os.kill(woken.pid, signal.SIGKILL)
        again = await status(substrate, "one", "ready", after=woken.incarnation)
        assert (again.restarts, again.woken) == (1, False)

    within(body)


def test_a_worker_that_cannot_sleep_is_never_asked(within):
    """The signal would end it."""

    async def body(client):
        substrate = await connected(client)
        await substrate.launch(spec("one", programs.GOOD))
        first = await status(substrate, "one", "ready")
        await substrate.sleep("one", first.incarnation)
        assert await substrate.workers() == [first]

    within(body)
