"""Groups texts of many requests into batches for an encoder: one queue, one thread that computes.

While the engine is idle a text is taken at once; while it is busy, arrivals gather, and after a batch the next waits
a moment for the clients that were just answered. Texts of like length share a batch, since padding is paid for.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

WINDOW_S: Final = 0.002
BATCH_MAX_TEXTS: Final = 32
BATCH_MAX_TOKENS: Final = 4096
_PADDING_MAX: Final = 1.5  # a text joins a batch of up to this times its own length


@dataclass(slots=True, eq=False)
class Text:
    """One encoded text: token ids and segment ids of equal length. `result` is cancelled when nobody wants it."""

    ids: Sequence[int]
    segments: Sequence[int]
    result: "asyncio.Future[Any]" = field(repr=False)


def pick(waiting: Sequence[Text]) -> list[Text]:
    """The next batch: the longest waiting text and others of like length, in order of arrival.

    Bounded by BATCH_MAX_TEXTS and, padding included, by BATCH_MAX_TOKENS (a longer text goes alone).
    """
    if not waiting:
        return []
    longest = shortest = len(waiting[0].ids)
    batch = [waiting[0]]
    for text in waiting[1:]:
        if len(batch) == BATCH_MAX_TEXTS:
            break
        size = len(text.ids)
        most, least = max(longest, size), min(shortest, size)
        if most > least * _PADDING_MAX + 8 or most * (len(batch) + 1) > BATCH_MAX_TOKENS:
            continue
        longest, shortest = most, least
        batch.append(text)
    return batch


class Batcher:
    """Runs `compute` on batches in a thread of its own. `compute` returns one result a text."""

    def __init__(self, compute: Callable[[list[Text]], list[Any]]) -> None:
        self._compute = compute
        self._waiting: list[Text] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._task: asyncio.Task[None] | None = None
        self.running = 0

    @property
    def waiting(self) -> int:
        """Texts not yet taken into a batch."""
        return len(self._waiting)

    async def encode(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Any]:
        """Results for (ids, segments) pairs, in order. When the caller is cancelled, what has not begun is dropped."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())
        loop = asyncio.get_running_loop()
        mine = [Text(ids, segments, loop.create_future()) for ids, segments in texts]
        self._waiting.extend(mine)
        self._arrived.set()
        try:
            return list(await asyncio.gather(*(text.result for text in mine)))
        finally:
            for text in mine:
                text.result.cancel()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        last = 0
        while True:
            if not self._waiting:
                last = 0  # idle: whoever comes next does not wait
                self._arrived.clear()
                await self._arrived.wait()
            elif len(self._waiting) < last:
                await asyncio.sleep(WINDOW_S)
            self._waiting = [text for text in self._waiting if not text.result.done()]
            batch = pick(self._waiting)
            if not batch:
                continue
            taken = set(map(id, batch))
            self._waiting = [text for text in self._waiting if id(text) not in taken]
            last, self.running = len(batch), len(batch)
            try:
                results: list[Any] = await loop.run_in_executor(self._thread, self._compute, batch)
            except Exception as error:  # noqa: BLE001 - outermost frame of the engine's thread: told to each who waits
                for text in batch:
                    if not text.result.done():
                        text.result.set_exception(error)
            else:
                for text, result in zip(batch, results, strict=True):
                    if not text.result.done():
                        text.result.set_result(result)
            self.running = 0
            await asyncio.sleep(0)  # let the answered ones ask again before the next batch is made
