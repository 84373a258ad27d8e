"""The authority over budgets, with gateways that are only their messages."""

import asyncio
from collections import defaultdict

import pytest

from headrace.control.budgets import Budgets
from headrace.control.records import Records
from headrace.economics.budgets import Budget
from headrace.specs.catalog import BudgetSpec, TenantSpec
from headrace.state.table import Grants, Purse, Purses
from headrace.state.usage import Usage
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import SimClock, catalog, model

pytestmark = pytest.mark.anyio
LIMIT = 1_000


class Desk:
    """Budgets, and what each gateway was told."""

    def __init__(self, folder) -> None:
        self.store, self.clock = SqliteStore(folder / "b.db"), SimClock()
        self.told: dict[str, list[Grants]] = defaultdict(list)
        self.linked = ["g0", "g1"]
        self.records = Records(self.store, self.clock)
        self.budgets = self.fresh()
        self.name = Budget(scope="tenant:default", period="day", limit_nanousd=1).id(self.clock.now_us())

    def fresh(self) -> Budgets:
        spec = BudgetSpec(period="day", limit_nanousd=LIMIT)
        made = Budgets(
            self.store, self.records, self.clock, lambda e, g: self.told[e].append(g),
            lambda: self.linked,
        )  # fmt: skip
        made.refresh(catalog(model(), tenants=(TenantSpec(name="default", budgets=(spec,)),)))
        return made

    async def ask(self, epoch: str, wanted: int, granted: int = 0, returned: int = 0):
        """One question; the answer."""
        before = len(self.told[epoch])
        purse = Purse(granted=granted, returned=returned, wanted=wanted, part=True, ask=7)
        self.budgets.heard(Purses(epoch=epoch, purses={self.name: purse}))
        async with asyncio.timeout(5):
            while len(self.told[epoch]) == before or not self.told[epoch][-1].grants[self.name].ask:
                await asyncio.sleep(0.002)
        return self.told[epoch][-1].grants[self.name]

    def charge(self, name: str, epoch: str, nanousd: int) -> None:
        row = Usage(
            request=name, epoch=epoch, tenant="default", key="k", model="m", task="chat", outcome="finished",
            status=200, arrived_us=1, ended_us=2, input_tokens=1, first_us=1, charge_nanousd=nanousd,
            budgets=(self.name,),
        )  # fmt: skip
        self.store.usage_add([row], {})
        self.budgets.spent()


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.store.close()


async def test_what_one_gateway_does_not_need_another_gets(desk: Desk):
    """Near the limit the others are asked before anybody is refused."""
    assert (await desk.ask("g0", 900)).granted == 900
    asking = asyncio.ensure_future(desk.ask("g1", 500))
    async with asyncio.timeout(5):
        while not desk.told["g0"][-1].grants[desk.name].recall:
            await asyncio.sleep(0.002)
    desk.budgets.heard(Purses(epoch="g0", purses={desk.name: Purse(granted=900, returned=600)}))
    assert (await asking).granted == 500


async def test_a_gateway_that_does_not_answer_keeps_what_it_holds(desk: Desk):
    """The asker gets what is free, and learns what is left."""
    await desk.ask("g0", 900)
    answer = await desk.ask("g1", 500)
    assert (answer.granted, answer.left, answer.limit) == (100, 0, LIMIT)


async def test_a_new_controller_grants_nothing_before_it_knows_what_is_held(desk: Desk):
    """A gateway that lived before it must speak first, or be dead."""
    await desk.ask("g0", 900)
    desk.told.clear()
    desk.budgets = desk.fresh()
    desk.budgets.began(["g0", "gone"])
    asking = asyncio.ensure_future(desk.ask("g1", 500))
    await asyncio.sleep(0.02)
    desk.budgets.heard(Purses(epoch="g0", purses={desk.name: Purse(granted=900)}, whole=True))
    desk.budgets.gone("gone")
    assert (await asking).granted == 100


async def test_what_was_charged_is_the_ledgers_word(desk: Desk):
    """Spent, held and left add up to the limit; a dead gateway's holding is free again, what it spent is not."""
    await desk.ask("g0", 600)
    desk.charge("r1", "g0", 250)
    state = desk.budgets.state(desk.budgets.all()[0])
    assert (state.settled, state.outstanding, state.free) == (250, 350, 400)
    desk.budgets.gone("g0")
    assert (state.settled, state.outstanding, state.free) == (250, 0, 750)


async def test_each_warning_is_given_once(desk: Desk):
    """Also over a restart of the controller."""
    for number in range(10):
        desk.charge(f"r{number}", "g0", 85)
    desk.budgets = desk.fresh()
    desk.charge("last", "g0", 10)
    desk.records.flush()
    told = [d.reason.split(" %")[0] for d in desk.store.decisions(limit=50) if d.kind == "budget.warning"]
    assert told == ["80", "50"]
