"""A second try of a short call: asked late, whoever answers first wins, and the other is stopped and on nobody's bill."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.gateway.stub import StubUpstream, dying, saying, silent, truthful, whole
from tests.gateway.world import HI, World, model, replica, run, until, world

HEDGED = (model(hedge=True),)
Test = Callable[[World, StubUpstream, StubUpstream], Awaitable[None]]


def hedged(tmp_path: Path, test: Test, models=HEDGED) -> None:
    """Two replicas, and a gateway that has learned that they answer at once."""

    async def work() -> None:
        async with (
            StubUpstream(tmp_path / "a", truthful) as a,
            StubUpstream(tmp_path / "b", truthful) as b,
            world(tmp_path, [replica(0, a), replica(1, b)], models=models) as here,
        ):
            for _ in range(24):
                assert (await here.ask(HI)).status == 200
            for stub in (a, b):
                stub.asked.clear()
            await test(here, a, b)

    run(work)


async def slow_one(here: World, a: StubUpstream, b: StubUpstream, how) -> tuple[StubUpstream, StubUpstream]:
    """Which replica is asked next is of no matter: the one that is becomes slow, the other stays as it is."""
    asked: list[StubUpstream] = []

    def behave(own: StubUpstream, other: StubUpstream):
        async def first(question, writer) -> None:
            if not asked:
                asked.append(own)
                other.behave = truthful
                await how(question, writer)
            else:
                await truthful(question, writer)

        return first

    a.behave, b.behave = behave(a, b), behave(b, a)
    return a, b


def test_the_second_answers_and_the_first_is_stopped(tmp_path: Path):
    """One answer, one charge as for any other; the first replica's time stands in the record as nobody's."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        plain = here.usages()[-1]
        await slow_one(here, a, b, silent)
        got = await here.ask(HI)
        assert (got.status, got.json["choices"][0]["message"]["content"]) == (200, "Paris")
        slow, quick = (a, b) if a.asked and b.asked and got.headers["x-headrace-replica"] == "r1" else (b, a)
        await asyncio.wait_for(slow.gone.wait(), 5)
        assert (len(slow.asked), len(quick.asked)) == (1, 1)
        await until(lambda: len(here.usages()) == 25)
        usage = here.usages()[-1]
        assert usage.charge_nanousd == plain.charge_nanousd > 0
        assert (usage.attempts, usage.outcome) == (2, "finished")
        (span,) = usage.failed
        assert {span.replica, usage.replica} == {"r0", "r1"}
        assert span.end_us - span.start_us > usage.busy_us
        assert "a second replica" in usage.why

    hedged(tmp_path, test)


def test_the_first_answers_late_and_the_second_is_stopped(tmp_path: Path):
    """Its answer is not waited for, and the connection is closed."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        release = asyncio.Event()

        async def late(question, writer) -> None:
            await release.wait()
            await truthful(question, writer)

        async def first_late_then_silent(question, writer) -> None:
            both = len(a.asked) + len(b.asked)
            await (late if both == 1 else silent)(question, writer)

        a.behave = b.behave = first_late_then_silent
        asking = asyncio.ensure_future(here.ask(HI))
        await until(lambda: len(a.asked) + len(b.asked) == 2)
        release.set()
        assert (await asking).status == 200
        await until(lambda: a.gone.is_set() or b.gone.is_set())
        await until(lambda: len(here.usages()) == 25)
        usage = here.usages()[-1]
        (span,) = usage.failed
        assert span.replica != usage.replica
        assert usage.attempts == 1

    hedged(tmp_path, test)


@pytest.mark.parametrize("broken", [dying(b"HTTP/1.1 200 OK\r\n"), saying(whole(b'{"error": {"message": "no"}}', 503))])
def test_one_fails_and_the_other_answers(tmp_path: Path, broken):
    """The first breaks while the second works: its client sees an answer and no more than that."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        second = asyncio.Event()

        async def breaks(question, writer) -> None:
            await second.wait()
            await broken(question, writer)

        async def either(question, writer) -> None:
            if len(a.asked) + len(b.asked) == 1:
                await breaks(question, writer)
                return
            second.set()
            await asyncio.sleep(0.05)
            await truthful(question, writer)

        a.behave = b.behave = either
        got = await here.ask(HI)
        assert got.status == 200
        await until(lambda: len(here.usages()) == 25)
        assert [span.replica for span in here.usages()[-1].failed] != [here.usages()[-1].replica]

    hedged(tmp_path, test)


def test_both_fail_and_the_client_is_told(tmp_path: Path):
    """Two tries were made, so no third is; both replicas' time is told."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        second = asyncio.Event()

        async def either(question, writer) -> None:
            if len(a.asked) + len(b.asked) == 1:
                await second.wait()
            else:
                second.set()
            await dying(b"HTTP/1.1 2")(question, writer)

        a.behave = b.behave = either
        got = await here.ask(HI)
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_failed")
        await until(lambda: len(here.usages()) == 25)
        assert len(here.usages()[-1].failed) == 2
        assert here.usages()[-1].charge_nanousd == 0

    hedged(tmp_path, test)


def test_a_client_that_leaves_stops_both(tmp_path: Path):
    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        a.behave = b.behave = silent
        asking = asyncio.ensure_future(here.ask(HI))
        await until(lambda: len(a.asked) + len(b.asked) == 2)
        asking.cancel()
        await asyncio.gather(a.gone.wait(), b.gone.wait())
        await until(lambda: len(here.usages()) == 25)
        assert here.usages()[-1].outcome == "cancelled"

    hedged(tmp_path, test)


def test_streams_long_answers_and_models_that_do_not_ask_for_it_are_tried_once(tmp_path: Path):
    """However long they take."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        async def late(question, writer) -> None:
            await asyncio.sleep(0.2)
            await truthful(question, writer)

        a.behave = b.behave = late
        for body in ({**HI, "stream": True}, {**HI, "max_tokens": 500}):
            assert (await here.ask(body)).status == 200
        assert len(a.asked) + len(b.asked) == 2

    hedged(tmp_path, test)

    async def once(here: World, a: StubUpstream, b: StubUpstream) -> None:
        async def late(question, writer) -> None:
            await asyncio.sleep(0.1)
            await truthful(question, writer)

        a.behave = b.behave = late
        assert (await here.ask(HI)).status == 200
        assert len(a.asked) + len(b.asked) == 1

    (tmp_path / "off").mkdir()
    hedged(tmp_path / "off", once, models=(model(),))
