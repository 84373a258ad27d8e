"""The real host and the real controller as processes, around an engine that only says that it is well.

`python -m tests.control.crew host|controller HOME`; `Crew` starts it and talks to it as a gateway and an admin do.
"""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.assembly.clock import SystemClock
from headrace.control import catalogs
from headrace.control import keys as control_keys
from headrace.ports import Artifact, Command
from headrace.settings import Settings
from headrace.specs.catalog import ModelSpec
from headrace.state import keys
from headrace.state.demand import Demand
from headrace.state.table import Challenge, Proof, Report, Table
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import SimEngine, catalog, model

ROOT = Path(__file__).parents[2]
ENGINE = """
import json, socket, sys
line = socket.socket(socket.AF_UNIX)
line.bind(sys.argv[1])
line.listen()
print(json.dumps({"ready": True}), flush=True)
while True:
    peer, _ = line.accept()
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
    peer.close()
"""


class WellEngine(SimEngine):
    """Starts a process that answers its health path and nothing else."""

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:
        path = address.removeprefix("unix:")
        return Command(argv=(sys.executable, "-I", "-S", "-c", ENGINE, path), env={}, address=address)


class Crew:
    """A host with a controller, seen from outside."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, listen="127.0.0.1:1")
        for folder in (self.settings.run, self.settings.journals, self.settings.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = SqliteStore(self.settings.database)
        catalogs.save(store, catalog(model()))
        self.key = control_keys.bootstrap(self.settings, store, SystemClock()) or ""
        store.close()
        argv = [sys.executable, "-m", "tests.control.crew", "host", str(home)]
        self.process = subprocess.Popen(argv, cwd=ROOT)

    def admin(self, method: str, path: str) -> Any:
        """One question to the admin API on its socket."""
        line = http.client.HTTPConnection("headrace")
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.connect(str(self.settings.admin_socket))
        line.request(method, f"/headrace/v1/{path}", headers={"Authorization": f"Bearer {self.key}"})
        answer = json.loads(line.getresponse().read())
        line.close()
        return answer

    def controller(self) -> int:
        """Its process id."""
        words = f"tests.control.crew\0controller\0{self.settings.home}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and words in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        (pid,) = found
        return pid


class Ear:
    """A gateway's end of the link."""

    def __init__(self, crew: Crew) -> None:
        self._path = crew.settings.link_socket
        self._pepper = control_keys.pepper(crew.settings)
        self.table = Table(revision=0, models=(), replicas=(), keys=())
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, newer_than: int = 0) -> None:
        """Until a table comes that is newer."""
        async with asyncio.timeout(20):
            while self.table.revision <= newer_than:
                self.close()
                try:
                    self._reader, self._writer = await asyncio.open_unix_connection(self._path, limit=1 << 20)
                    asked = msgspec.json.decode(await self._reader.readline() or b"null", type=Challenge | None)
                    if asked is None:
                        raise EOFError
                    proof = Proof(answer=keys.proof(self._pepper, asked.nonce))
                    self._writer.write(msgspec.json.encode(proof) + b"\n")
                    await self.hear()
                except (OSError, EOFError):
                    await asyncio.sleep(0.01)

    async def hear(self) -> Table:
        """The next table."""
        line = await asyncio.wait_for(self._reader.readline(), 20)
        if not line:
            raise EOFError
        self.table = msgspec.json.decode(line, type=Table)
        return self.table

    def say(self, *demand: Demand, **more: Any) -> None:
        """A report that knows the last table."""
        fields = {"worker": 0, "epoch": "g", "pid": os.getpid(), "revision": self.table.revision}
        assert self._writer is not None
        self._writer.write(msgspec.json.encode(Report(demand=demand, **(fields | more))) + b"\n")

    async def until_ready(self) -> tuple[str, str]:
        """The replica that is ready: name and incarnation."""
        while not (ready := [r for r in self.table.replicas if r.phase == "ready"]):
            await self.hear()
        return ready[0].id, ready[0].incarnation

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@contextmanager
def running(home: Path) -> Iterator[Crew]:
    crew = Crew(home)
    try:
        yield crew
    finally:
        crew.process.send_signal(signal.SIGTERM)
        crew.process.wait(20)


def main(role: str, home: str) -> None:
    settings = Settings(home=Path(home), listen="127.0.0.1:1")
    if role == "host":
        from headrace.substrates import host

        asyncio.run(host.serve(settings, [sys.executable, "-m", "tests.control.crew", "controller", home], []))
        return
    from headrace.control import controller
    from headrace.control.adapters import Adapters
    from headrace.control.admin import app
    from headrace.stores import journal_reader
    from headrace.stores.repeats import FileRepeats
    from headrace.substrates.local import LocalSubstrate

    start = time.monotonic()
    prepared = Artifact(digest="d", path=home, files={}, memory_bytes=1)
    adapters = Adapters(
        store=SqliteStore(settings.database),
        substrate=LocalSubstrate(settings),
        engines={"llama_cpp": WellEngine()},
        find_artifact=lambda _: prepared,
        command=lambda role: ("false", role),
        journal_reader=journal_reader,
        clock=SystemClock(),
    )
    repeats = FileRepeats(settings.repeats, b"pepper", "here", "here".__eq__)
    asyncio.run(controller.run(settings, adapters, serve_admin=lambda served: app.serve(served, repeats)))
    print(f"ended by itself after {time.monotonic() - start:.3f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
