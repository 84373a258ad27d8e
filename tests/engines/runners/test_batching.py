"""Batches keep their bounds and their order, requests take turns, and no work is done that nobody waits for.

Nothing here sleeps: the thread that computes is held and let go by hand, and the loop's time jumps to the next timer.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.runners.batching import WINDOW_S, Batch, Batcher, Bounds, Item, alike, padded

BOUNDS = Bounds(count=32, cost=4096)
FEW = Bounds(count=4, cost=100)


class Held(Executor):
    """A thread that computes when the test says so, in the test's own thread."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def go(self) -> None:
        future, compute = self.jobs.pop(0)
        try:
            future.set_result(compute())
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)


class Jumping(asyncio.SelectorEventLoop):
    """A loop whose time stands still while there is something to do, and then jumps to the next timer."""

    def __init__(self) -> None:
        inner = selectors.DefaultSelector()
        super().__init__(inner)
        self.now, real = 0.0, inner.select

        def select(timeout: float | None = None) -> Any:
            found = real(0 if timeout is not None else None)
            if not found and timeout:
                self.now += timeout
            return found

        inner.select = select  # type: ignore[method-assign]

    def time(self) -> float:
        return self.now


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Jumping) as runner:
        runner.run(work)


async def turns() -> None:
    """Let everything happen that can happen without time going on."""
    for _ in range(20):
        await asyncio.sleep(0)


def squares(batch: Batch[int]) -> list[int]:
    return [work * work for work in batch.works]


def items(*works: int, **more: Any) -> list[Item[int]]:
    return [Item(work, **more) for work in works]


@given(st.lists(st.integers(1, 5000), max_size=100))
def test_a_padded_batch_keeps_its_bounds(sizes: list[int]) -> None:
    """The first waiting item is always in; padding and size are bounded."""
    waiting = [Item(size, cost=size) for size in sizes]
    batch = padded(waiting, BOUNDS)
    assert batch[:1] == waiting[:1]
    assert len(batch) <= BOUNDS.count
    if len(batch) > 1:
        lengths = [item.cost for item in batch]
        assert max(lengths) * len(batch) <= BOUNDS.cost
        assert max(lengths) <= min(lengths) * 1.5 + 8


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 150)), max_size=50))
def test_a_batch_is_of_one_shape_and_keeps_its_bounds(given_items: list[tuple[str, int]]) -> None:
    """It is what a sweep in order of arrival can take: the first, and no one passed over who would have fitted."""
    waiting = [Item(cost, shape=shape, cost=cost) for shape, cost in given_items]
    batch = alike(waiting, FEW)
    assert batch[:1] == waiting[:1]
    assert len({item.shape for item in batch}) <= 1
    assert len(batch) <= FEW.count
    assert len(batch) <= 1 or sum(item.cost for item in batch) <= FEW.cost
    if batch and len(batch) < FEW.count:
        spare = FEW.cost - sum(item.cost for item in batch)
        passed = [item for item in waiting if item not in batch and item.shape == batch[0].shape]
        assert all(item.cost > spare for item in passed)


def test_like_lengths_go_together_first_come_first() -> None:
    """A long text does not make short ones pay for padding."""
    waiting = [Item(place, cost=size) for place, size in enumerate((10, 400, 12, 380, 9))]
    assert [item.work for item in padded(waiting, BOUNDS)] == [0, 2, 4]


def test_everyone_gets_their_own_result_in_a_real_thread() -> None:
    """Many callers at once, one answer an item, in their order."""

    async def work() -> None:
        batcher: Batcher[int, int] = Batcher(squares, BOUNDS)
        found = await asyncio.gather(*(batcher.run(items(number, number + 1)) for number in range(50)))
        assert [[number**2, (number + 1) ** 2] for number in range(50)] == found

    asyncio.run(work())


def test_those_who_come_while_it_computes_share_a_batch() -> None:
    """The first goes alone at once; the ten that gathered meanwhile go together, those of another shape after them."""

    async def work() -> None:
        thread, sizes = Held(), []

        def compute(batch: Batch[int]) -> list[int]:
            sizes.append(len(batch))
            return squares(batch)

        batcher: Batcher[int, int] = Batcher(compute, BOUNDS, executor=thread)
        first = asyncio.ensure_future(batcher.run(items(1)))
        await turns()
        assert (batcher.running, batcher.waiting) == (1, 0)
        others = [asyncio.ensure_future(batcher.run(items(n, shape="wide" if n % 2 else None))) for n in range(20)]
        await turns()
        assert batcher.waiting == 20
        for _ in range(3):
            thread.go()
            await turns()
        assert sizes == [1, 10, 10]
        assert await first == [1]
        assert [n * n for n in range(20)] == [(await other)[0] for other in others]

    run(work())


def test_after_a_batch_it_waits_a_moment_for_those_just_answered_and_never_when_idle() -> None:
    """One straggler waits WINDOW_S for company; whoever finds the engine idle does not wait at all."""

    async def work() -> None:
        thread, now = Held(), asyncio.get_running_loop().time
        batcher: Batcher[int, int] = Batcher(squares, BOUNDS, executor=thread)
        crowd = [asyncio.ensure_future(batcher.run(items(n))) for n in range(3)]
        await turns()
        assert len(thread.jobs) == 1
        assert now() == 0.0
        straggler = asyncio.ensure_future(batcher.run(items(9)))
        await turns()
        thread.go()
        await turns()
        assert thread.jobs == []
        company = asyncio.ensure_future(batcher.run(items(8)))
        while not thread.jobs:
            await asyncio.sleep(WINDOW_S / 4)
        assert WINDOW_S <= now() <= 1.5 * WINDOW_S
        thread.go()
        assert (await straggler, await company) == ([81], [64])
        await asyncio.gather(*crowd)

    run(work())


def test_requests_take_turns() -> None:
    """A request of one item that comes after one of many is in the next batch."""

    async def work() -> None:
        thread, seen = Held(), []

        def compute(batch: Batch[int]) -> list[int]:
            seen.append(batch.works)
            return squares(batch)

        batcher: Batcher[int, int] = Batcher(compute, FEW, executor=thread)
        large = asyncio.ensure_future(batcher.run(items(*range(12))))
        await turns()
        small = asyncio.ensure_future(batcher.run(items(99)))
        await turns()
        while thread.jobs:
            thread.go()
            await asyncio.sleep(2 * WINDOW_S)
        assert await small == [99 * 99]
        assert await large == [n * n for n in range(12)]
        assert 99 in seen[1]
        assert [work for works in seen for work in works if work != 99] == list(range(12))

    run(work())


def test_the_work_of_one_who_left_is_dropped() -> None:
    """Queued items of a cancelled caller are never computed."""

    async def work() -> None:
        thread, seen = Held(), []

        def compute(batch: Batch[int]) -> list[int]:
            seen.extend(batch.works)
            return squares(batch)

        batcher: Batcher[int, int] = Batcher(compute, BOUNDS, executor=thread)
        first = asyncio.ensure_future(batcher.run(items(1)))
        await turns()
        gone, stays = asyncio.ensure_future(batcher.run(items(2, 22))), asyncio.ensure_future(batcher.run(items(3)))
        await turns()
        gone.cancel()
        thread.go()
        await turns()
        thread.go()
        assert (await first, await stays) == ([1], [9])
        assert seen == [1, 3]
        assert batcher.requests == 0

    run(work())


@pytest.mark.parametrize("answers", [ValueError("thirteen"), [1, 2, 3]], ids=["it raises", "a wrong number of results"])
def test_a_failure_reaches_those_of_its_batch_only(answers: Any) -> None:
    """The next batch is computed as if nothing had been."""

    async def work() -> None:
        def compute(batch: Batch[int]) -> list[int]:
            if batch.works[0] != 13:
                return squares(batch)
            if isinstance(answers, Exception):
                raise answers
            return list(answers)

        batcher: Batcher[int, int] = Batcher(compute, BOUNDS)
        with pytest.raises(ValueError, match=r"thirteen|zip"):
            await batcher.run(items(13))
        assert await batcher.run(items(2)) == [4]

    asyncio.run(work())


def test_steps_are_counted_for_each_request() -> None:
    """Progress is the steps done of all of a request's items, also of those not begun; it is gone with the request."""

    async def work() -> None:
        thread, seen = Held(), []

        def compute(batch: Batch[int]) -> list[int]:
            for index in batch.each_step():
                seen.append((index, batcher.progress()))
            return squares(batch)

        batcher: Batcher[int, int] = Batcher(compute, Bounds(count=2, cost=99), executor=thread)
        three = asyncio.ensure_future(batcher.run(items(1, 2, 3, steps=4), name="three"))
        again = asyncio.ensure_future(batcher.run(items(4, steps=4), name="three"))
        await turns()
        assert batcher.progress() == [
            {"id": "three", "step": 0, "steps": 12},
            {"id": "three#2", "step": 0, "steps": 4},
        ]
        thread.go()
        assert [index for index, _ in seen] == [0, 1, 2, 3]
        assert [sum(entry["step"] for entry in told) for _, told in seen] == [0, 2, 4, 6]
        await turns()
        assert batcher.progress() == [{"id": "three", "step": 4, "steps": 12}]
        while not (three.done() and again.done()):
            if thread.jobs:
                thread.go()
            await asyncio.sleep(WINDOW_S)
        assert (await three, await again) == ([1, 4, 9], [16])
        assert batcher.progress() == []

    run(work())


def test_an_item_that_left_between_steps_is_cut_from_the_batch() -> None:
    """The engine asks which places stay; results go to those who stayed."""

    async def work() -> None:
        thread, places = Held(), []

        def compute(batch: Batch[int]) -> list[int]:
            values = batch.works
            for index in batch.each_step():
                if index == 2:
                    two.cancel()
                stay = batch.drop_unwanted()
                values = [values[place] for place in stay]
                places.append(stay)
            return [value * value for value in values]

        batcher: Batcher[int, int] = Batcher(compute, BOUNDS, executor=thread)
        one, two, three = (asyncio.ensure_future(batcher.run(items(n, steps=4))) for n in (1, 2, 3))
        await turns()
        thread.go()
        assert (await one, await three) == ([1], [9])
        assert places == [[0, 1, 2], [0, 1, 2], [0, 2], [0, 1]]
        assert two.cancelled()

    run(work())


def test_a_batch_that_nobody_waits_for_stops_at_once() -> None:
    """The last one who leaves ends it before the next step, and the next request is served."""

    async def work() -> None:
        thread, steps = Held(), []

        def compute(batch: Batch[int]) -> list[int]:
            for index in batch.each_step():
                steps.append(index)
                if index == 1:
                    gone.cancel()
            return squares(batch)

        batcher: Batcher[int, int] = Batcher(compute, BOUNDS, executor=thread)
        gone = asyncio.ensure_future(batcher.run(items(1, 2, steps=50)))
        await turns()
        thread.go()
        await turns()
        assert steps == [0, 1]
        assert gone.cancelled()
        later = asyncio.ensure_future(batcher.run(items(5)))
        await turns()
        thread.go()
        assert await later == [25]

    run(work())
