"""What one run tells: committed in order, so that nothing outside follows from an event before it is durable.

Written by `context` and whoever makes steps with it. An event that nothing outside follows from yet moves the state at
once and shares the commit of the next one.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace.pipelines.ports import Runs
from headrace.state.run import AnyEvent, Run


class Journal:
    """Of one run at work. `told` is called with each event that is durable."""

    def __init__(self, run: Run, runs: Runs, told: Callable[[AnyEvent], None]) -> None:
        self._run, self._runs, self._told = run, runs, told
        self._moved = asyncio.Event()
        self._failed: BaseException | None = None  # what nobody waited for could not be written

    async def tell(self, *events: AnyEvent) -> None:
        """Commit, then let the state move: one deed, also when who tells is cancelled meanwhile. Raises Transient."""
        if events:
            await asyncio.shield(self._tell(events))

    async def _tell(self, events: Sequence[AnyEvent]) -> None:
        await self._runs.append(self._run.started.run, _encoded(events))
        self._check()
        self._move(events)
        for event in events:
            self._told(event)

    def tell_soon(self, *events: AnyEvent) -> None:
        """Let the state move, and commit no later than what is told next; until then nothing outside may follow."""
        done = self._runs.append_soon(self._run.started.run, _encoded(events))
        self._move(events)
        done.add_done_callback(lambda _: self._saved(done, events))

    async def saved(self) -> None:
        """All that was told is durable when this returns. Raises Transient."""
        await self._runs.append(self._run.started.run, ())
        self._check()

    async def moved(self, within_us: int) -> None:
        """Until the state moves. Raises TimeoutError."""
        await asyncio.wait_for(self._moved.wait(), within_us / 1e6)

    def _move(self, events: Sequence[AnyEvent]) -> None:
        for event in events:
            self._run.take(event)
        self._moved.set()
        self._moved = asyncio.Event()

    def _saved(self, done: "asyncio.Future[Any]", events: Sequence[AnyEvent]) -> None:
        """Durable, or not: then whatever is told next fails."""
        if done.cancelled():
            return
        self._failed = self._failed or done.exception()
        for event in events if self._failed is None else ():
            self._told(event)

    def _check(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed


def _encoded(events: Sequence[AnyEvent]) -> list[bytes]:
    return [msgspec.json.encode(event) for event in events]
