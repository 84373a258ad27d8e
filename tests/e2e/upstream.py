"""A foreign OpenAI server on a loopback port, in a thread of the test; what it says is the test's to choose."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.gateway.stub import StubUpstream, truthful


@contextmanager
def serving() -> Iterator[StubUpstream]:
    """The stub, listening; set its `behave` at any time, for the requests that come from then on."""
    made: list[StubUpstream] = []
    up, done = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with StubUpstream(None, truthful) as stub:
            made.append(stub)
            up.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(10)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()


def spec(folder: Path, url: str, *, tenants: str = "{default: {}}") -> Path:
    """A cloud file whose one model, `theirs`, is served there."""
    file = folder / "theirs.yaml"
    file.write_text(f"""\
version: 1
pools:
  theirs: {{accelerator: cpu, price_per_hour: 0.08}}
models:
  theirs:
    price: {{input_tokens: 0.05, output_tokens: 0.20}}
    task: chat
    engine: {{kind: openai, url: "{url}", upstream_model: up, slots: 64, context: 4096}}
tenants: {tenants}
""")
    return file
