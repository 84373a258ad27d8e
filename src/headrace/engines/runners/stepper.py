"""Advances many works together, one step at a time: what arrives joins at the next step, what is cancelled leaves.

For models that make something in a fixed number of like steps, such as pictures by a flow. No work waits for another
to end unless there are more than fit a step.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Work = TypeVar("Work")


@dataclass(slots=True, eq=False)
class _Job(Generic[Work]):
    work: Work
    done: "asyncio.Future[None]" = field(repr=False)


class Stepper(Generic[Work]):
    """Calls `advance` on up to `most` works in a thread of its own. `advance` says of each whether it is finished."""

    def __init__(self, advance: Callable[[list[Work]], list[bool]], most: int) -> None:
        self._advance, self._most = advance, most
        self._jobs: list[_Job[Work]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "steps")
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Works that take part in the next step."""
        return min(len(self._jobs), self._most)

    @property
    def waiting(self) -> int:
        """Works that do not fit the next step."""
        return len(self._jobs) - self.running

    async def finish(self, works: Sequence[Work]) -> None:
        """Return when all are finished. When the caller is cancelled they take part in no further step."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        loop = asyncio.get_running_loop()
        mine = [_Job(work, loop.create_future()) for work in works]
        self._jobs.extend(mine)
        self._arrived.set()
        try:
            await asyncio.gather(*(job.done for job in mine))
        finally:
            for job in mine:
                job.done.cancel()
            self._jobs = [job for job in self._jobs if not job.done.done()]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._jobs:
                self._arrived.clear()
                await self._arrived.wait()
            batch = self._jobs[: self._most]
            works = [job.work for job in batch]
            try:
                finished: list[bool] = await loop.run_in_executor(self._thread, self._advance, works)
            except Exception as error:  # noqa: BLE001 - outermost frame of the engine's thread: told to each who waits
                for job in batch:
                    if not job.done.done():
                        job.done.set_exception(error)
            else:
                for job, over in zip(batch, finished, strict=True):
                    if over and not job.done.done():
                        job.done.set_result(None)
            self._jobs = [job for job in self._jobs if not job.done.done()]
            await asyncio.sleep(0)  # the answered ones may ask again before the next step
