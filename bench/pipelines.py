"""What a durable step costs beside its call: `python bench/pipelines.py`.

SQLite with fsync, models that answer at once."""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.pipelines.world import Model  # noqa: E402 - as above

from headrace.pipelines.context import World  # noqa: E402 - found by the path above
from headrace.pipelines.runner import Runner, Wanted  # noqa: E402 - as above
from headrace.pipelines.shelf import Shelf  # noqa: E402 - as above
from headrace.pipelines.web import OpenWeb  # noqa: E402 - as above
from headrace.stores.objects import FileObjects  # noqa: E402 - as above
from headrace.stores.runs import SqliteRuns  # noqa: E402 - as above

STEPS = 50
TEXT = """
name: chain
limits: {{cost: 1, time: 5m, width: 1}}
steps:
  a: {{loop: {{until: "false", at_most: {steps}}}, chat: m, prompt: "{{{{ round }}}}"}}
output: ""
"""


class Wall:
    def now_us(self) -> int:
        return time.time_ns() // 1000


async def measure(folder: Path, runs: int) -> tuple[float, float]:
    store = SqliteRuns(folder / f"{runs}.db")
    world = World(
        models=Model(), runs=store, objects=Shelf(FileObjects(folder / "objects"), store), clock=Wall(), web=OpenWeb()
    )
    runner = Runner(world, folder)
    start = time.perf_counter()
    names = [await runner.start("t", "k", Wanted(text=TEXT.format(steps=STEPS))) for _ in range(runs)]
    ended = await asyncio.gather(*(runner.ended(name) for name in names))
    took = time.perf_counter() - start
    assert all(state.phase == "finished" and len(state.steps) == STEPS for state in ended)
    store.close()
    return took / STEPS, runs * STEPS / took


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for runs in (1, 8, 50):
            found = [asyncio.run(measure(Path(tempfile.mkdtemp(dir=folder)), runs)) for _ in range(3)]
            each = statistics.median(one[0] for one in found) * 1e3
            rate = statistics.median(one[1] for one in found)
            print(f"{runs:3} runs side by side: {each:7.2f} ms a step of one run, {rate:7.0f} durable steps/s")


if __name__ == "__main__":
    main()
