"""Tiny real workers for tests, and the moments tests wait for."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headrace.ports import WorkerSpec, WorkerStatus
from headrace.settings import Settings
from headrace.substrates.local import LocalSubstrate
from headrace.substrates.workers import Workers

SAY_READY = "import json, sys, time, os, signal; ready = lambda: print(json.dumps({'ready': True}), flush=True)\n"
GOOD = SAY_READY + "ready(); time.sleep(600)"
NEVER = SAY_READY + "time.sleep(600)"
CRASH = SAY_READY + "print('I give up', flush=True); sys.exit(3)"
READY_THEN_CRASH = SAY_READY + "ready(); sys.exit(4)"
STUBBORN = SAY_READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(600)"

# Handlers only take note: a signal may come while the line before is still being printed.
RESTS = (
    SAY_READY
    + """
asked = []
asleep = lambda *_: asked.append(lambda: print(json.dumps({'asleep': True}), flush=True))
signal.signal(signal.SIGUSR1, asleep)
signal.signal(signal.SIGUSR2, lambda *_: asked.append(ready))
ready()
while True:
    time.sleep(0.02)
    while asked:
        asked.pop(0)()
"""
)
SLEEPLESS = RESTS.replace("SIGUSR1, asleep", "SIGUSR1, lambda *_: None")


def spec(name: str, code: str, *words: str, **more: Any) -> WorkerSpec:
    return WorkerSpec(id=name, argv=(sys.executable, "-I", "-S", "-c", code, *words), **more)


def home(folder: Path) -> Settings:
    settings = Settings(home=folder / "home", listen="127.0.0.1:1")
    for place in (settings.home, settings.run, settings.logs):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings


@asynccontextmanager
async def local(folder: Path) -> AsyncIterator[Callable[[], LocalSubstrate]]:
    """The host's half in this process; gives a maker of clients, which are closed at the end, as all workers are."""
    settings = home(folder)
    workers = Workers(settings.logs, settings.home / "scratch", lambda peer: peer.pid == os.getpid())
    server = await asyncio.start_unix_server(workers.answer, str(settings.host_socket), limit=1 << 20)
    made: list[LocalSubstrate] = []

    def client() -> LocalSubstrate:
        made.append(LocalSubstrate(settings))
        return made[-1]

    try:
        yield client
    finally:
        for one in made:
            await one.close()
        await workers.stop_all(100_000)
        server.close()
        await asyncio.sleep(0)


async def until(found: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait on a condition; the clock only bounds the wait."""
    async with asyncio.timeout(seconds):
        while not (value := found()):
            await asyncio.sleep(0.01)
    return value


async def status(substrate: Any, name: str, *phases: str, after: str = "none") -> WorkerStatus:
    """The worker's status once it is in one of these phases, in another incarnation than `after`."""
    async with asyncio.timeout(20):
        async for told in substrate.watch():
            if told.id == name and told.phase in phases and told.incarnation != after:
                return told
            assert told.phase != "failed", told.reason
    raise AssertionError("the watch ended")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
