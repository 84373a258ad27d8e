"""A gateway worker with stub upstreams, and the runner's jobs behind it, as the official client sees them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import uvicorn

from headrace.assembly.clock import SystemClock
from headrace.jobs.parts import parts
from headrace.serving import process
from headrace.serving.caller import Door
from headrace.serving.loopback import Loopback
from headrace.serving.storage import Storage, Terms
from headrace.stores.objects import FileObjects
from headrace.stores.records import SqliteRecords
from tests.gateway.stub import StubUpstream
from tests.gateway.world import KEY, PEPPER, World, replica, run, until, world


class Hand(SystemClock):
    """The machine's clock, and what a test adds to it."""

    ahead_s = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_s * 1_000_000


@asynccontextmanager
async def runner(here: World, clock: Hand | None = None) -> AsyncIterator[None]:
    """The jobs of a world's folder; leaving it is what SIGTERM does."""
    records = SqliteRecords(here.folder / "jobs.db")
    loopback = Loopback("127.0.0.1", here.port, PEPPER, keep=8)
    store: Callable[[str], FileObjects] = lambda name: FileObjects(here.folder / f"objects-{name}")  # noqa: E731
    made = parts(here.folder / "jobs", records, store, loopback, Door(PEPPER), clock or Hand(), here.worker.repeats,
                 Storage(Terms(here.worker.settings.table_file), [records.kept]))  # fmt: skip
    for part in made:
        await part.begin()
    socket = here.worker.settings.pipelines_socket
    socket.unlink(missing_ok=True)
    server = process._Server(
        uvicorn.Config(process.app(made), uds=str(socket), loop="none", lifespan="off", log_config=None, ws="none")
    )
    serving = asyncio.ensure_future(server.serve())
    await until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        for part in made:
            await part.stop()
        loopback.close()
        records.close()


def jobs(folder: Path, behave: Any, check: Any, clock: Hand | None = None, **more: Any) -> None:
    """One test: `check(client, here, up)` with everything running."""

    async def work() -> None:
        async with (
            StubUpstream(folder / "up", behave) as up,
            world(folder, [replica(0, up)], **more) as here,
            runner(here, clock),
            client(here) as asked,
        ):
            await check(asked, here, up)

    run(work)


def client(here: World) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{here.port}/v1", api_key=KEY, max_retries=0)


def chats(texts: Sequence[str]) -> bytes:
    """Lines of a batch, one question each."""
    body: Callable[[str], Any] = lambda text: {"model": "m", "messages": [{"role": "user", "content": text}]}  # noqa: E731
    lines = [
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body(text)}
        for n, text in enumerate(texts)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def begin(asked: openai.AsyncOpenAI, data: bytes, **more: Any) -> Any:
    file = await asked.files.create(file=("in.jsonl", data), purpose="batch")
    return await asked.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


async def ended(asked: openai.AsyncOpenAI, name: str) -> Any:
    while True:
        batch = await asked.batches.retrieve(name)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        await asyncio.sleep(0.01)


async def rows(asked: openai.AsyncOpenAI, file: str | None) -> dict[str, Any]:
    """The lines of a result file by their custom_id."""
    if not file:
        return {}
    found = [json.loads(line) for line in (await asked.files.content(file)).text.splitlines()]
    assert len({row["custom_id"] for row in found}) == len(found)
    return {row["custom_id"]: row for row in found}
