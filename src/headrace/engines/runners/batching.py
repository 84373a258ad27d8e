"""The micro-batcher of every library engine: items of many requests in one queue, one thread that computes batches.

While the engine is idle an item is taken at once; while it is busy, arrivals gather, and after a batch the next waits
a moment for the clients that were just answered. Requests take turns item by item, so a large one does not hold up a
small one. An item of a request that has gone is dropped before it begins, and between two steps if it has some.

An engine gives one function, `compute(batch)`, that returns one result an item. One that works in steps (diffusion)
writes its loop as `for index in batch.each_step(): ...`: that reports progress and ends when nobody waits any more.
"""

import asyncio
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")

WINDOW_S: Final = 0.002
_PADDING_MAX: Final = 1.5  # an item joins a padded batch of up to this times its own length
_PADDING_SPARE: Final = 8


class Abandoned(Exception):
    """Nobody waits for any item of the batch."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A batch holds at most `count` items and costs at most `cost`; an item that costs more goes alone."""

    count: int
    cost: int


@dataclass(slots=True, eq=False)
class Item(Generic[Work]):
    """One piece of a request. Items of equal `shape` can share a batch; `cost` is in the unit of the engine's Bounds.

    `steps` is how many the engine takes for it, the same for all items of a shape; `step` counts those done.
    """

    work: Work
    shape: Hashable = None
    cost: int = 1
    steps: int = 1
    step: int = field(default=0, init=False)
    turn: int = field(default=0, init=False)
    result: "asyncio.Future[Any] | None" = field(default=None, init=False, repr=False)

    @property
    def wanted(self) -> bool:
        """False once its request has gone. Safe to ask in any thread."""
        return self.result is None or not self.result.done()


class Batch(Generic[Work]):
    """What is computed together. Used in the thread that computes."""

    def __init__(self, items: Sequence[Item[Work]]) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def works(self) -> list[Work]:
        """What the items hold, in their order."""
        return [item.work for item in self.items]

    def each_step(self) -> Iterator[int]:
        """The numbers of the steps to take. Raises Abandoned before a step that nobody waits for."""
        for index in range(self.items[0].steps):
            self.reached(index)
            yield index

    def reached(self, step: int) -> None:
        """`step` steps are done: for engines that own their loop and call back. Raises Abandoned as `each_step`."""
        for item in self.items:
            item.step = step
        if not any(item.wanted for item in self.items):
            raise Abandoned

    def drop_unwanted(self) -> list[int]:
        """Leave out items whose requests have gone; returns the places of those that stay, to cut arrays to them."""
        staying = [place for place, item in enumerate(self.items) if item.wanted]
        self.items = [self.items[place] for place in staying]
        return staying


Pick = Callable[[Sequence[Item[Any]], Bounds], list[Item[Any]]]


def alike(waiting: Sequence[Item[Any]], bounds: Bounds) -> list[Item[Any]]:
    """The next batch: the first item and others of its shape, in order, while the sum of their costs is in bounds."""
    batch, cost = list(waiting[:1]), sum(item.cost for item in waiting[:1])
    for item in waiting[1:]:
        if len(batch) >= bounds.count:
            break
        if item.shape == batch[0].shape and cost + item.cost <= bounds.cost:
            cost += item.cost
            batch.append(item)
    return batch


def padded(waiting: Sequence[Item[Any]], bounds: Bounds) -> list[Item[Any]]:
    """The next batch where `cost` is a length and all items are padded to the longest: the first, and others near it.

    The bound on cost holds with the padding included.
    """
    if not waiting:
        return []
    longest = shortest = waiting[0].cost
    batch = [waiting[0]]
    for item in waiting[1:]:
        if len(batch) >= bounds.count:
            break
        most, least = max(longest, item.cost), min(shortest, item.cost)
        if most > least * _PADDING_MAX + _PADDING_SPARE or most * (len(batch) + 1) > bounds.cost:
            continue
        longest, shortest = most, least
        batch.append(item)
    return batch


class Batcher(Generic[Work, Result]):
    """Runs `compute` on batches in a thread of its own (`executor`). `running` and `waiting` count items."""

    def __init__(
        self,
        compute: Callable[[Batch[Work]], Sequence[Result]],
        bounds: Bounds,
        pick: Pick = alike,
        executor: Executor | None = None,
    ) -> None:
        self._compute, self._bounds, self._pick = compute, bounds, pick
        self._executor = executor or ThreadPoolExecutor(1, "compute")
        self._waiting: list[Item[Work]] = []
        self._requests: dict[str, Sequence[Item[Work]]] = {}
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._turn = 0
        self._left = False  # a request has gone since the last look
        self.running = 0

    @property
    def waiting(self) -> int:
        """Items not yet taken into a batch."""
        return len(self._waiting)

    @property
    def requests(self) -> int:
        """Calls of `run` that have not ended."""
        return len(self._requests)

    def load(self, slots: int) -> dict[str, int]:
        """What GET /load tells of a runner that has this one batcher."""
        return {"running": self.running, "waiting": self.waiting, "slots": slots}

    def progress(self) -> list[dict[str, Any]]:
        """What GET /progress tells: of each request the steps done and the steps there are, over all its items."""
        return [
            {"id": name, "step": sum(item.step for item in items), "steps": sum(item.steps for item in items)}
            for name, items in self._requests.items()
        ]

    async def run(self, items: Sequence[Item[Work]], name: str = "") -> list[Result]:
        """Results in the order of the items. When the caller is cancelled, what has not begun is dropped.

        `name` is what progress calls the request; it is numbered when it has none or another of that name runs.
        """
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in items]
        for place, item in enumerate(items):
            item.result, item.turn = futures[place], self._turn + place
        number = next(self._numbers)
        if not name or name in self._requests:
            name = f"{name}#{number}"
        self._requests[name] = items
        self._waiting.extend(items)
        self._waiting.sort(key=attrgetter("turn"))
        self._arrived.set()
        try:
            return list(await asyncio.gather(*futures))
        except BaseException:
            self._left = True
            for future in futures:
                future.cancel()
            raise
        finally:
            del self._requests[name]

    async def _work(self) -> None:
        last = 0
        while True:
            if not self._waiting:
                last = 0  # idle: whoever comes next does not wait
                self._arrived.clear()
                await self._arrived.wait()
            elif len(self._waiting) < last:
                await asyncio.sleep(WINDOW_S)
            if self._left:
                self._waiting = [item for item in self._waiting if item.wanted]
                self._left = False
            items = self._pick(self._waiting, self._bounds)
            if not items:
                continue
            taken = set(map(id, items))
            self._waiting = [item for item in self._waiting if id(item) not in taken]
            self._turn = items[0].turn
            last = self.running = len(items)
            await self._run(Batch(items))
            self.running = 0
            await asyncio.sleep(0)  # let the answered ones ask again before the next batch is made

    async def _run(self, batch: Batch[Work]) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._executor, self._compute, batch)
            answered = list(zip(batch.items, results, strict=True))
        except Exception as error:  # noqa: BLE001 - outermost frame of the engine's thread: told to each who waits
            for item in batch.items:
                if item.result is not None and not item.result.done():
                    item.result.set_exception(error)
        else:
            for item, result in answered:
                item.step = item.steps
                if item.result is not None and not item.result.done():
                    item.result.set_result(result)
