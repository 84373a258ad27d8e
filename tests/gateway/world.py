"""One gateway worker with real sockets, a real journal and stub upstreams, in the test's own event loop."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from headrace.assembly.clock import SystemClock
from headrace.gateway.client import Client
from headrace.gateway.worker import Worker
from headrace.settings import Settings
from headrace.specs.catalog import Limits
from headrace.state import keys
from headrace.state.table import Ability, Price, RouteKey, RouteModel, RouteReplica, Table
from headrace.state.usage import Begun, Entry, Usage
from headrace.stores import journal_reader
from headrace.stores.journal import FileJournal
from headrace.stores.repeats import FileRepeats
from tests.gateway.stub import StubUpstream

PEPPER = bytes(range(32))
KEY_ID, SECRET, KEY = keys.make_key(bytes(range(44)))
HI = {"model": "m", "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 16}
CHAT = "/v1/chat/completions"
UNITS = {"input_tokens": 20_000, "output_tokens": 80_000}


def run(work: Callable[[], Awaitable[None]]) -> None:
    """One test in uvloop, as the product runs."""

    async def main() -> None:
        await work()

    uvloop.run(main())


def model(**changes: Any) -> RouteModel:
    facts: dict[str, Any] = {
        "name": "m", "version": "v1", "weight": 1, "task": "chat", "ability": Ability(dialect="vllm", tools=True),
        "context_tokens": 4096, "output_tokens_default": 64, "queue_max": 8, "ttft_us": 0,
        "start_timeout_us": 5_000_000, "state": "ready", "created_s": 1,
    }  # fmt: skip
    return RouteModel(**{**facts, **changes})


def replica(number: int, stub: StubUpstream, **changes: Any) -> RouteReplica:
    facts: dict[str, Any] = {
        "id": f"r{number}", "model": "m", "version": "v1", "incarnation": f"i{number}", "address": f"unix:{stub.socket}",
        "slots": 4, "phase": "ready", "upstream_model": "up",
    }  # fmt: skip
    return RouteReplica(**{**facts, **changes})


def table(
    revision: int,
    replicas: Sequence[RouteReplica],
    models: Sequence[RouteModel] = (),
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Table:
    key = RouteKey(id=KEY_ID, digest=keys.digest(PEPPER, SECRET), tenant="t", role="user", limits=limits)
    every = tuple(models) or (model(),)
    prices = tuple(Price(id="p", model=f"{m.name}@{m.version}", units=UNITS) for m in every)
    return Table(revision=revision, models=every, replicas=tuple(replicas), keys=(key,), prices=prices)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    pieces: list[bytes] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        return [event for event in self.body.decode().split("\n\n") if event.startswith("data: ")]

    @property
    def text(self) -> str:
        """What a stream said."""
        chunks = [json.loads(event[6:]) for event in self.events if event != "data: [DONE]"]
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))


class Line:
    """One connection of a client; reads answers as strictly as it can."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].decode().split("\r\n")
        return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:])

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size + 2)
        assert data[-2:] == b"\r\n"
        return data[:-2]

    async def answer(self) -> Answer:
        status, headers = await self.head()
        if "content-length" in headers:
            return Answer(status, headers, await self.reader.readexactly(int(headers["content-length"])))
        if headers.get("transfer-encoding") != "chunked":
            return Answer(status, headers, await self.reader.read())
        pieces = []
        while data := await self.chunk():
            pieces.append(data)
        return Answer(status, headers, b"".join(pieces), pieces)

    async def closed(self) -> bool:
        """Whether the gateway ends the connection, with nothing more said."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.writer.close()


def post(body: Any, path: str = CHAT, key: str = KEY, *more: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Length: {len(data)}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


def get(path: str, key: str = KEY, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


@dataclass
class World:
    worker: Worker
    port: int
    folder: Path
    lines: list[Line] = field(default_factory=list)

    async def line(self) -> Line:
        """A connection, closed with the world at the latest."""
        self.lines.append(Line(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.lines[-1]

    async def ask(self, body: Any, path: str = CHAT, *more: str) -> Answer:
        return await self.raw(post(body, path, KEY, *more))

    async def raw(self, data: bytes) -> Answer:
        line = await self.line()
        try:
            line.send(data)
            return await asyncio.wait_for(line.answer(), 10)
        finally:
            line.close()

    def give(self, replicas: Sequence[RouteReplica], **more: Any) -> None:
        """As the controller would."""
        self.worker._took(table(self.worker.directory.table.revision + 1, replicas, **more))

    def entries(self) -> list[Entry]:
        files = journal_reader.files(self.folder / "journal")
        return [entry for file in files for entry in journal_reader.read(file, 0).entries]

    def usages(self) -> list[Usage]:
        return [entry for entry in self.entries() if isinstance(entry, Usage)]

    async def usage(self) -> Usage:
        """The one record there is, or will be in a moment."""
        await until(self.usages)
        (found,) = self.usages()
        return found

    def begun(self) -> list[Begun]:
        return [entry for entry in self.entries() if isinstance(entry, Begun)]


async def until(happened: Callable[[], Any], seconds: float = 5) -> Any:
    """Wait on a condition; the clock only bounds the wait."""
    end = time.monotonic() + seconds
    while not (value := happened()):
        assert time.monotonic() < end, "waited too long"
        await asyncio.sleep(0.002)
    return value


@asynccontextmanager
async def world(folder: Path, replicas: Sequence[RouteReplica], **more: Any) -> AsyncIterator[World]:
    """A worker that has a table; at its end nothing may be left at work, and each request has left one record."""
    settings = Settings(home=folder, listen="127.0.0.1:0", gateways=1)
    for name in (settings.run, settings.journals):
        name.mkdir(exist_ok=True)
    settings.pepper.write_text(PEPPER.hex())
    journal = FileJournal(settings.journals, "1-0-1")
    repeats = FileRepeats(settings.repeats, PEPPER, "1-0-1", lambda epoch: epoch == "1-0-1")
    worker = Worker(settings, 0, journal, repeats, "1-0-1", SystemClock())
    worker._took(table(1, replicas, **more))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(worker), "127.0.0.1", 0)
    timer = worker.spawn(worker.keep_time())
    found = World(worker, server.sockets[0].getsockname()[1], folder)
    try:
        yield found
        await until(lambda: not worker.exchanges)
        assert worker.body_bytes == 0
        counters = worker.counters
        assert [counters.spent(f"replica:{r.id}", 0).in_flight for r in replicas] == [0] * len(replicas)
        assert counters.spent(f"key:{KEY_ID}", 0).in_flight == 0
        assert sum(worker.dispatch.in_flight().values()) == 0
    finally:
        server.close()
        timer.cancel()
        for line in found.lines:
            line.writer.transport.abort()
        await until(lambda: not worker.connections)
        await journal.close()
    owed, ended = [entry.request for entry in found.begun()], {entry.request: entry for entry in found.usages()}
    assert len(ended) == len(found.usages()), "one record for each request"
    assert set(owed) <= ended.keys(), "whatever began has ended"
    assert all(not entry.attempts for name, entry in ended.items() if name not in owed), "nothing was done unannounced"
