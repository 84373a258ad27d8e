"""Batches hold texts of like length within their bounds, in order, and nobody's text is lost or mixed up."""

import asyncio
import threading
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.runners import batching
from headrace.engines.runners.batching import Batcher, Text, pick


def texts(*sizes: int) -> list[Text]:
    return [Text([number] * size, [0] * size, cast("Any", None)) for number, size in enumerate(sizes)]


def run(work: Any) -> Any:
    return asyncio.run(work)


@given(st.lists(st.integers(1, 5000), max_size=100))
def test_a_batch_keeps_its_bounds(sizes: list[int]) -> None:
    """The longest waiting text is always in; padding and size are bounded."""
    waiting = texts(*sizes)
    batch = pick(waiting)
    assert batch[:1] == waiting[:1]
    assert len(batch) <= batching.BATCH_MAX_TEXTS
    lengths = [len(text.ids) for text in batch]
    if len(batch) > 1:
        assert max(lengths) * len(batch) <= batching.BATCH_MAX_TOKENS
        assert max(lengths) <= min(lengths) * 1.5 + 8


def test_like_lengths_go_together_first_come_first() -> None:
    """A long text does not make short ones pay for padding."""
    waiting = texts(10, 400, 12, 380, 9)
    assert [text.ids[0] for text in pick(waiting)] == [0, 2, 4]


def test_everyone_gets_their_own_result() -> None:
    """Many callers at once, one answer a text, in their order."""

    async def work() -> None:
        batcher = Batcher(lambda batch: [sum(text.ids) for text in batch])
        asked = [[([number] * size, [0] * size) for size in (1, 2, 3)] for number in range(50)]
        found = await asyncio.gather(*(batcher.encode(each) for each in asked))
        assert [[number, 2 * number, 3 * number] for number in range(50)] == found

    run(work())


def test_those_who_come_while_it_computes_share_a_batch() -> None:
    """The first goes alone at once; the ten that gathered meanwhile go together."""

    async def work() -> None:
        sizes: list[int] = []
        gate = threading.Event()

        def compute(batch: list[Text]) -> list[int]:
            sizes.append(len(batch))
            gate.wait(5)
            return [0] * len(batch)

        batcher = Batcher(compute)
        first = asyncio.ensure_future(batcher.encode([([1], [0])]))
        while not batcher.running:
            await asyncio.sleep(0)
        others = [asyncio.ensure_future(batcher.encode([([1], [0])])) for _ in range(10)]
        while batcher.waiting < 10:
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *others)
        assert sizes == [1, 10]

    run(work())


def test_the_work_of_one_who_left_is_dropped() -> None:
    """Queued texts of a cancelled caller are never computed."""

    async def work() -> None:
        seen: list[int] = []
        gate = threading.Event()

        def compute(batch: list[Text]) -> list[int]:
            gate.wait(5)
            seen.extend(text.ids[0] for text in batch)
            return [0] * len(batch)

        batcher = Batcher(compute)
        first = asyncio.ensure_future(batcher.encode([([1], [0])]))
        while not batcher.running:
            await asyncio.sleep(0)
        gone = asyncio.ensure_future(batcher.encode([([2], [0])]))
        stays = asyncio.ensure_future(batcher.encode([([3], [0])]))
        while batcher.waiting < 2:
            await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        await asyncio.gather(first, stays)
        assert seen == [1, 3]

    run(work())


def test_a_failure_reaches_those_of_its_batch_only() -> None:
    """The next batch is computed as if nothing had been."""

    async def work() -> None:
        def compute(batch: list[Text]) -> list[int]:
            if batch[0].ids[0] == 13:
                raise ValueError("thirteen")
            return [7] * len(batch)

        batcher = Batcher(compute)
        with pytest.raises(ValueError, match="thirteen"):
            await batcher.encode([([13], [0])])
        assert await batcher.encode([([1], [0])]) == [7]

    run(work())
