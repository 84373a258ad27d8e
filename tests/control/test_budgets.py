"""The authority over budgets, with gateways that are only their messages."""

import asyncio
import random
from collections import defaultdict

import msgspec
import pytest

from headrace.control.budgets import Budgets
from headrace.control.records import Records
from headrace.economics.budgets import Budget
from headrace.gateway.purse import Denied, Wallet
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


class Cloud(Desk):
    """The same with the gateways' real wallets on the line; messages travel in order, unless a gateway is away."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.spent = dict.fromkeys(self.linked, 0)
        self.away: set[str] = set()
        self.wallets = {epoch: Wallet(epoch, self.line(epoch)) for epoch in self.linked}
        self.budgets = self.joined()

    def line(self, epoch: str):
        def send(purses: Purses) -> bool:
            if epoch in self.away:
                return False
            asyncio.get_running_loop().call_soon(lambda: self.budgets.heard(purses))
            return True

        return send

    def joined(self) -> Budgets:
        made = self.fresh()
        made._tell = self.tell
        return made

    def tell(self, epoch: str, grants: Grants) -> None:
        if epoch not in self.away:
            asyncio.get_running_loop().call_soon(self.wallets[epoch].granted, grants)

    async def want(self, epoch: str, nanousd: int) -> Denied | None:
        """One request's hold, with the time that passes while it waits."""
        wallet = self.wallets[epoch]
        if wallet.hold((self.name,), nanousd):
            return None
        answer: asyncio.Future[Denied | None] = asyncio.get_running_loop().create_future()
        wallet.ask((self.name,), nanousd, self.clock.us, answer.set_result)
        async with asyncio.timeout(10):
            while not answer.done():
                await asyncio.sleep(0.002)
                self.clock.us += 2_000  # as much as passes
                wallet.tick(self.clock.us)
        return answer.result()

    def end(self, epoch: str, held: int, charge: int) -> None:
        self.wallets[epoch].settle((self.name,), held, charge)
        self.spent[epoch] += charge
        self.charge(f"r{sum(self.spent.values())}-{self.clock.us}", epoch, charge)
        self.clock.us += 1

    def restart(self) -> None:
        """The controller is killed and its successor begins; gateways say what they hold as they come back."""
        self.budgets = self.joined()
        self.budgets.began(self.linked)
        self.away = set(self.linked)

    def back(self, epoch: str) -> None:
        self.away.discard(epoch)
        self.budgets.heard(self.wallets[epoch].connected())


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path)
    yield made
    made.store.close()


async def test_a_question_asked_before_everybody_was_heard_is_answered_after(cloud: Cloud):
    """The gateway that came back first waits for the other, and not for ever."""
    assert await cloud.want("g1", 300) is None
    cloud.restart()
    cloud.back("g0")
    asking = asyncio.ensure_future(cloud.want("g0", 700))
    async with asyncio.timeout(5):
        while not cloud.budgets._asking:
            await asyncio.sleep(0.002)
        while cloud.budgets._asking:  # it has let the question fall
            await asyncio.sleep(0.002)
    cloud.back("g1")
    assert await asking is None
    late = await cloud.want("g1", 1)
    assert late is not None
    assert (late.budget, late.left_nanousd) == (cloud.name, 0)


async def test_no_order_of_requests_recalls_and_restarts_overshoots(cloud: Cloud):
    """What is held and spent stays within the limit; in the end all of it can be spent, by whichever gateway."""
    rng = random.Random(11)
    at_work: list[tuple[str, int]] = []
    for step in range(60):
        epoch = rng.choice(cloud.linked)
        if step % 20 == 19:
            cloud.restart()
            for back in rng.sample(cloud.linked, 2):
                cloud.back(back)
        if at_work and rng.random() < 0.5:
            where, held = at_work.pop(rng.randrange(len(at_work)))
            cloud.end(where, held, rng.randrange(0, held // 4 + 1))
        else:
            wanted = rng.randrange(1, 300)
            if await cloud.want(epoch, wanted) is None:
                at_work.append((epoch, wanted))
        held = sum(amount for _, amount in at_work)
        assert sum(cloud.spent.values()) + held <= LIMIT
        assert held == sum(wallet._slice(cloud.name).held for wallet in cloud.wallets.values())
    for where, held in at_work:
        cloud.end(where, held, 0)
    left = LIMIT - sum(cloud.spent.values())
    assert await cloud.want("g0", left) is None
    cloud.end("g0", left, left)
    assert cloud.budgets.state(cloud.budgets.all()[0]).settled == LIMIT
    assert all(wallet._slice(cloud.name).held == 0 for wallet in cloud.wallets.values())


async def test_a_limit_that_is_lowered_is_kept_to_at_once(cloud: Cloud):
    """Who holds and does not need is asked for it; who is at work ends its work."""
    assert await cloud.want("g0", 300) is None
    assert await cloud.want("g1", 300) is None
    cloud.end("g1", 300, 0)
    spec = BudgetSpec(period="day", limit_nanousd=350)
    cloud.budgets.refresh(catalog(model(), tenants=(TenantSpec(name="default", budgets=(spec,)),)))
    denied = await cloud.want("g1", 320)
    assert denied is not None
    assert denied.limit_nanousd == 350
    assert await cloud.want("g1", 50) is None


async def test_a_budget_that_is_taken_away_limits_nobody(cloud: Cloud):
    """Requests that were asking are let through."""
    assert await cloud.want("g0", 900) is None
    cloud.budgets.refresh(catalog(model(), tenants=(TenantSpec(name="default"),)))
    assert await cloud.want("g1", 5_000) is None


async def test_what_a_dead_gateway_held_is_free_once_it_is_settled(cloud: Cloud):
    """Not before: it may have charged all of it."""
    assert await cloud.want("g0", 800) is None
    cloud.away.add("g0")
    cloud.linked.remove("g0")
    assert await cloud.want("g1", 500) is not None
    cloud.charge("its last", "g0", 150)
    cloud.budgets.gone("g0")
    assert await cloud.want("g1", 850) is None
    assert await cloud.want("g1", 1) is not None


def test_a_model_is_out_of_service_once_its_own_budget_is_spent_and_back_with_the_next_period(desk: Desk):
    """All charges for it count, whoever is charged; nothing is held in it."""
    name, day_us = model().name, 24 * 3600 * 1_000_000
    desk.store.terms(budgets=[Budget(scope=f"model:{name}", period="day", limit_nanousd=500)])
    budgets = desk.budgets = desk.fresh()
    assert [b.scope for b in budgets.of_model(name)] == [f"model:{name}"]
    desk.name = Budget(scope=f"model:{name}", period="day", limit_nanousd=500).id(desk.clock.now_us())
    desk.charge("a", "g0", 499)
    assert budgets.used_up(name) == ""
    desk.charge("b", "g1", 1)
    assert "$0.000000500 of $0.000000500" in budgets.used_up(name)
    assert f"headrace budget set model:{name}" in budgets.used_up(name)
    assert budgets.used_up("another") == ""
    desk.clock.us += day_us
    assert budgets.used_up(name) == ""


def test_a_models_budget_that_only_notifies_takes_nothing_out_of_service(desk: Desk):
    name = model().name
    desk.store.terms(budgets=[Budget(scope=f"model:{name}", period="total", limit_nanousd=5, at_limit="notify")])
    budgets = desk.budgets = desk.fresh()
    desk.name = f"model:{name}|total|ever"
    desk.charge("a", "g0", 50)
    assert budgets.used_up(name) == ""


def test_a_model_has_the_budget_that_the_file_gives_it_once_for_all_versions(desk: Desk):
    """What was set by hand for the same period stands in its place; a file without it has none."""
    spec = BudgetSpec(period="day", limit_nanousd=500, at_limit="notify", warn_percent=(80,))
    versions = [msgspec.structs.replace(model(), version=name, budgets=(spec,)) for name in ("v1", "v2")]
    name, budgets = f"model:{model().name}", desk.budgets
    for _ in range(2):  # applied twice is applied once
        budgets.refresh(catalog(*versions))
        (found,) = budgets.all()
        assert found == Budget(scope=name, period="day", limit_nanousd=500, at_limit="notify", warn_percent=(80,))
    desk.store.terms(budgets=[Budget(scope=name, period="day", limit_nanousd=900)])
    budgets.refresh(catalog(*versions))
    assert [budget.limit_nanousd for budget in budgets.all()] == [900]
    desk.store.terms(without=budgets.all())
    budgets.refresh(catalog(model()))
    assert budgets.all() == []
