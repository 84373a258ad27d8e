"""Budgets as one worker keeps to them: held before, settled after, refused with the fix, and nothing left behind."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from headrace.economics.metering import quantities
from headrace.economics.prices import charge_nanousd
from headrace.gateway import purse
from headrace.state.table import Grant, Grants, Price, Purses, RouteBudget
from tests.gateway import stub
from tests.gateway.stub import END, STREAM_HEAD, StubUpstream, framed, words
from tests.gateway.world import HI, UNITS, World, model, post, replica, run, table, until, world

BUDGETS = (RouteBudget(scope="tenant:t", period="day", at_limit="refuse"),)
WORST = {"max_tokens": 4}


class Control:
    """A controller that is only its answers: it grants from what is left, or says nothing."""

    def __init__(self, here: World, left: int | None) -> None:
        self.left = left
        self.worker = here.worker
        self.heard: list[Purses] = []
        self.granted: dict[str, int] = {}
        here.worker.link.send = self.send  # type: ignore[method-assign]

    def send(self, purses: Purses) -> bool:
        self.heard.append(purses)
        if self.left is not None:
            asyncio.get_running_loop().call_soon(self.answer, purses)
        return True

    def answer(self, purses: Purses) -> None:
        grants = {}
        for name, mine in purses.purses.items():
            if mine.ask:
                give = min(mine.wanted, self.left or 0)
                self.left = (self.left or 0) - give
                self.granted[name] = self.granted.get(name, 0) + give
                grants[name] = Grant(granted=self.granted[name], ask=mine.ask, left=self.left, limit=99_000)
        if grants:
            self.worker.wallet.granted(Grants(grants=grants))


def with_budgets(check, left: int | None, at_limit: str = "refuse", behave: stub.Behaviour = stub.truthful):
    """A worker whose one key has a budget of which so much is left."""

    def start(folder: Path) -> None:
        async def work() -> None:
            async with StubUpstream(folder / "u", behave) as up, world(folder, [replica(0, up)]) as here:
                made = table(2, [replica(0, up)])
                budgets = tuple(msgspec.structs.replace(one, at_limit=at_limit) for one in BUDGETS)
                here.worker._took(
                    msgspec.structs.replace(made, keys=(msgspec.structs.replace(made.keys[0], budgets=budgets),))
                )
                await check(here, Control(here, left), up)
                await until(lambda: not here.worker.exchanges)
                assert all(not each.held for each in here.worker.wallet._slices.values()), "nothing stays held"

        run(work)

    return start


def worst(here_bytes: int, tokens: int) -> int:
    """What a request may come to at most: a token a byte, the turn's allowance and the template's."""
    return -(-((here_bytes + 16 + 128) * UNITS["input_tokens"] + (tokens + 1) * UNITS["output_tokens"]) // 1000)


def test_what_is_held_is_released_and_what_is_charged_is_spent(tmp_path: Path):
    """The record says what was held, and the header what it came to."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        got = await here.ask({**HI, **WORST})
        assert got.status == 200
        record = await here.usage()
        most = worst(len(HI["messages"][0]["content"]), 4)
        assert record.held_nanousd == most
        assert 0 < record.charge_nanousd < most
        assert got.headers["x-headrace-cost"] == f"0.{record.charge_nanousd:09}"
        (budget,) = record.budgets
        assert budget.startswith("tenant:t|day|")
        mine = here.worker.wallet._slices[budget]
        assert (mine.spent, mine.held) == (record.charge_nanousd, 0)

    with_budgets(check, 10**6)(tmp_path)


def test_too_little_is_a_refusal_that_names_limit_and_fix(tmp_path: Path):
    """429, not to be tried again, no engine asked, one record."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        got = await here.ask({**HI, **WORST})
        assert (got.status, got.json["error"]["code"]) == (429, "insufficient_quota")
        assert got.headers["x-should-retry"] == "false"
        message = got.json["error"]["message"]
        assert "$0.000000100 of $0.000099000 left" in message
        assert "headrace budget set tenant:t" in message
        assert up.asked == []
        (record,) = await until(here.usages)
        assert (record.outcome, record.charge_nanousd) == ("refused", 0)

    with_budgets(check, 100)(tmp_path)


def test_a_silent_controller_is_told_within_a_second(tmp_path: Path, monkeypatch):
    """503 with a time to come back."""
    monkeypatch.setattr(purse, "WAIT_US", 100_000)

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        got = await here.ask({**HI, **WORST})
        assert (got.status, got.json["error"]["code"]) == (503, "budget_unavailable")
        assert int(got.headers["retry-after"]) >= 1

    with_budgets(check, None)(tmp_path)


def test_a_client_that_leaves_while_it_waits_holds_nothing(tmp_path: Path):
    """The grant that comes later is free for others."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        line = await here.line()
        line.send(post({**HI, **WORST}))
        await until(lambda: control.heard)
        line.close()
        await until(lambda: not here.worker.exchanges)
        control.left = 10**6
        control.answer(control.heard[0])
        assert up.asked == []

    with_budgets(check, None)(tmp_path)


def test_a_degrading_budget_asks_the_engine_for_less(tmp_path: Path):
    """As many tokens as what is left covers."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        got = await here.ask({**HI, "max_tokens": 1000})
        assert got.status == 200
        sent = up.asked[0].body["max_tokens"]
        assert 1 <= sent < 1000
        record = await here.usage()
        assert record.held_nanousd <= 6_000
        assert f"allows {sent} tokens" in record.note

    with_budgets(check, 6_000, "degrade")(tmp_path)


def test_a_budget_that_only_notifies_holds_nothing_and_still_counts(tmp_path: Path):
    """What is spent is known; nothing is asked."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        assert (await here.ask(HI)).status == 200
        record = await here.usage()
        assert (record.held_nanousd, len(record.budgets)) == (0, 1)
        assert control.heard == []

    with_budgets(check, 0, "notify")(tmp_path)


def test_a_controller_that_was_silent_once_is_asked_again(tmp_path: Path):
    """503 within about a second; the next request waits for nobody who will not come."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        began_s = time.monotonic()
        assert (await here.ask({**HI, **WORST})).status == 503
        assert time.monotonic() - began_s < 1.6
        control.left = 10**6
        assert (await here.ask({**HI, **WORST})).status == 200

    with_budgets(check, None)(tmp_path)


def test_many_at_once_spend_no_more_than_there_is(tmp_path: Path):
    """Some are served and some refused; each has one record, and what was charged stays within the limit."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        most = worst(len(HI["messages"][0]["content"]), 4)
        control.left = 5 * most
        answers = await asyncio.gather(*(here.ask({**HI, **WORST, "stream": n % 2 == 0}) for n in range(20)))
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) >= 5
        await until(lambda: len(here.usages()) == 20)
        assert sum(record.charge_nanousd for record in here.usages()) <= 5 * most

    with_budgets(check, 0)(tmp_path)


def test_a_request_that_fails_releases_what_it_held(tmp_path: Path):
    """Ours is the fault, and nothing is charged."""

    async def check(here: World, control: Control, up: StubUpstream) -> None:
        assert (await here.ask({**HI, **WORST})).status >= 500
        record = await here.usage()
        assert (record.outcome, record.charge_nanousd, record.held_nanousd > 0) == ("failed", 0, True)

    with_budgets(check, 10**6, behave=stub.dying())(tmp_path)


BUSY = Price(id="p", model="m@v1", units={"busy_us": 1_700, "output_tokens": 80_000})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("answers", ["whole", "streams"])
def test_the_charge_is_the_price_of_what_the_record_says(tmp_path: Path, stream: bool, answers: str):
    """To the microsecond of slot time, however the answer travelled."""
    behave = stub.saying(stub.whole(stub.answer())) if answers == "whole" else stub.truthful

    async def work() -> None:
        async with StubUpstream(tmp_path / "u", behave) as up, world(tmp_path, [replica(0, up)]) as here:
            here.worker._took(msgspec.structs.replace(table(2, [replica(0, up)]), prices=(BUSY,)))
            got = await here.ask({**HI, "stream": stream})
            record = await here.usage()
            assert record.charge_nanousd == charge_nanousd(BUSY, quantities(record)) * (got.status == 200)
            assert record.busy_us > 0

    run(work)


def test_an_answer_that_its_client_left_is_charged_as_far_as_it_came(tmp_path: Path):
    """By the rule of the whole one, on what was worked on and delivered."""

    async def endless(_: stub.Question, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(map(framed, words("a", "b", "c")[:-1])))
        await asyncio.Event().wait()
        writer.write(END)

    async def work() -> None:
        async with StubUpstream(tmp_path / "u", endless) as up, world(tmp_path, [replica(0, up)]) as here:
            line = await here.line()
            line.send(post({**HI, "stream": True}))
            await line.head()
            await line.chunk()
            line.close()
            record = await here.usage()
            assert record.outcome == "cancelled"
            assert record.output_tokens == record.events > 0
            price = Price(id="p", model="m@v1", units=UNITS)
            assert record.charge_nanousd == charge_nanousd(price, quantities(record)) > 0

    run(work)


def test_a_request_that_was_held_for_a_version_that_is_gone_is_charged(tmp_path: Path):
    """At the price that was pinned when it came."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "u", stub.truthful) as up, world(tmp_path, []) as here:
            line = await here.line()
            line.send(post(HI))
            await until(lambda: here.worker.dispatch.held)
            here.give([replica(0, up, version="v2")], models=[model(version="v2")])
            assert (await line.answer()).status == 200
            record = await here.usage()
            assert (record.version, record.price) == ("v2", "p")
            assert record.charge_nanousd > 0

    run(work)
