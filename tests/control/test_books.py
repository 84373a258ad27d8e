"""Booking what devices cost, in virtual time: every microsecond once, and nothing for time that was nobody's."""

import msgspec
import pytest

from headrace.control.bookkeeper import Bookkeeper
from headrace.control.books import LAG_US, QUIET_US, Books, device_name, pieces
from headrace.control.market import Market
from headrace.control.metrics import Metrics
from headrace.control.records import Records
from headrace.control.speeds import Speeds
from headrace.control.terms import Terms
from headrace.economics.booking import cost_nanousd
from headrace.economics.entries import HOUR_US
from headrace.economics.overhead import LOAD_CAP_NANOUSD
from headrace.ports import Rate
from headrace.state.fleet import Device, Lease
from headrace.state.usage import Usage
from headrace.stores import journal_reader
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import GIB, S, SimClock, catalog, model

pytestmark = pytest.mark.anyio
DEVICE = Device(node="local", device="cpu", pool="local", memory_bytes=4 * GIB, cpus=4)
NAME = device_name(DEVICE)
RATE = 80_000_000


class Desk:
    """Books over a real store, in virtual time."""

    def __init__(self, folder) -> None:
        self.clock = SimClock()
        self.folder = folder
        self.store = SqliteStore(folder / "b.db")
        (folder / "journal").mkdir()
        self.books = self.fresh()

    def fresh(self) -> Books:
        Terms(self.store, Records(self.store, self.clock), Market(("false",)), self.clock).refresh(catalog(model()))
        return self.fresh_terms()

    def fresh_terms(self) -> Books:
        """A new process that takes prices and rates as they are kept."""
        self.records = Records(self.store, self.clock)
        terms = Terms(self.store, self.records, Market(("false",)), self.clock)
        self.keeper = Bookkeeper(self.folder / "journal", self.store, journal_reader, Metrics(), self.clock)
        return Books(self.store, self.records, terms, self.keeper, Speeds(self.store), self.clock)

    async def turn(self, seconds: float = 0, devices: tuple[Device, ...] = (DEVICE,)) -> None:
        self.clock.us += int(seconds * S)
        await self.keeper.catch_up()
        await self.books.turn(devices)

    @property
    def now_us(self) -> int:
        return self.clock.now_us()

    def lease(self, **more) -> Lease:
        made = Lease(**({
            "replica": "r", "incarnation": "1", "model": "m", "version": "v1", "pool": "local", "node": "local",
            "device": "cpu", "memory_bytes": GIB, "share_ppm": 250_000, "started_us": self.now_us,
        } | more))  # fmt: skip
        self.store.lease_put(made)
        return made

    def served(self, name: str, seconds: float, cold: bool = False, tenant: str = "a") -> Usage:
        """A request that has just ended after so long at the replica."""
        start_us = self.now_us - int(seconds * S)
        row = Usage(
            request=name, epoch="e", tenant=tenant, key="k", model="m", version="v1", task="chat", outcome="finished",
            status=200, arrived_us=start_us, ended_us=self.now_us, replica="r", incarnation="1", sent_us=start_us,
            left_us=self.now_us, first_us=S // 10, input_tokens=5, output_tokens=9, cold=cold,
        )  # fmt: skip
        self.store.usage_add([row], {})
        return row

    def sums(self) -> dict[str, int]:
        return self.store.statements.balances(0, 1 << 60)


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.store.close()


async def test_all_time_since_the_beginning_is_booked_once(desk: Desk):
    """Free, load, used, idle: together what the device costs, to the nano-dollar."""
    await desk.turn()
    start_us = desk.store.statements.booked()[NAME]
    await desk.turn(3)
    lease = desk.lease()
    await desk.turn(1)
    desk.lease(**msgspec.structs.asdict(lease) | {"ready_us": desk.now_us})
    await desk.turn(2)
    desk.served("q", 1, cold=True)
    await desk.turn(2 * QUIET_US / S)
    until_us = desk.store.statements.booked()[NAME]
    assert until_us == desk.now_us - LAG_US
    sums = desk.sums()
    assert -sums["owed/local"] == cost_nanousd(RATE, start_us, until_us)
    assert sums["used/a/m@v1"] == pytest.approx(cost_nanousd(RATE // 4, 0, S), abs=1)
    assert sums["load/m@v1"] == pytest.approx(cost_nanousd(RATE // 4, 0, S), abs=1)
    assert sums["borne/a/load"] == sums["load/m@v1"] == -sums["moved/load/m@v1"]
    assert sum(sums.values()) == 0
    assert desk.store.audit({}).found == ()


async def test_a_night_in_which_nothing_ran_is_not_charged(desk: Desk):
    """The machine was off; a controller that comes back in a moment charges on."""
    await desk.turn()
    await desk.turn(120)
    before = desk.sums()["owed/local"]
    desk.clock.us += 8 * 3600 * S
    desk.books = desk.fresh()
    desk.books.began(still_running=False)
    for _ in range(3):
        await desk.turn(60)
    charged_us = (before - desk.sums()["owed/local"]) * 3600 * S // RATE
    assert charged_us < 300 * S
    desk.records.flush()
    assert any(d.kind == "books.off" for d in desk.store.decisions(limit=20))


async def test_a_wall_clock_that_jumps_ahead_costs_nothing(desk: Desk):
    """Ten years in a second are not ten years of a device."""
    await desk.turn()
    await desk.turn(60)
    ahead = 10 * 365 * 24 * 3600 * S
    real, desk.clock.now_us = desk.clock.now_us, lambda: real() + ahead  # type: ignore[method-assign]
    for _ in range(4):
        await desk.turn(60)
    assert -desk.sums()["owed/local"] < cost_nanousd(RATE, 0, 600 * S)


async def test_idle_time_is_moved_when_its_hour_is_over(desk: Desk):
    """In proportion to what tenants used of the model in that hour; the unmoved view stays."""
    await desk.turn()
    desk.lease(started_us=desk.now_us, ready_us=desk.now_us)
    await desk.turn(10)
    desk.served("q1", 3, tenant="a")
    await desk.turn(10)
    desk.served("q2", 1, tenant="b")
    await desk.turn(40)
    idle = desk.sums()["idle/m@v1"]
    for _ in range(3):
        await desk.turn(3600)
    sums = desk.sums()
    assert sums["idle/m@v1"] > idle
    assert sums["borne/a/idle"] / sums["borne/b/idle"] == pytest.approx(3, rel=0.01)
    assert sum(sums.values()) == 0


async def test_a_device_that_is_gone_holds_nobody_up(desk: Desk):
    """A pool got another name: idle hours of the others are moved all the same."""
    old = msgspec.structs.replace(DEVICE, pool="old")
    await desk.turn(devices=(DEVICE, old))
    desk.lease(started_us=desk.now_us, ready_us=desk.now_us)
    await desk.turn(10, devices=(DEVICE, old))
    desk.served("q1", 3)
    await desk.turn(10, devices=(DEVICE, old))
    for _ in range(3):
        await desk.turn(3600)
    assert desk.sums()["borne/a/idle"] > 0


async def test_what_ran_on_a_device_that_leaves_is_booked_to_its_end(desk: Desk):
    """The request that drained there has a cost; then it is over."""
    await desk.turn()
    lease = desk.lease(started_us=desk.now_us, ready_us=desk.now_us)
    await desk.turn(40)
    before = desk.sums().get("used/a/m@v1", 0)
    await desk.turn(20, devices=())
    desk.served("last", 10)
    desk.lease(
        **msgspec.structs.asdict(lease)
        | {"ended_us": desk.now_us, "started_us": lease.started_us, "ready_us": lease.ready_us}
    )
    for _ in range(4):
        await desk.turn(40, devices=())
    assert desk.sums()["used/a/m@v1"] - before == pytest.approx(cost_nanousd(RATE // 4, 0, 10 * S), abs=1)
    until_us = desk.store.statements.booked()[NAME]
    await desk.turn(3600, devices=())
    assert desk.store.statements.booked()[NAME] == until_us
    assert until_us >= desk.store.leases_since(0)[0].ended_us


async def test_a_device_that_comes_back_was_nobodys_meanwhile(desk: Desk):
    """A pool that was taken out for a week is not charged for it."""
    await desk.turn()
    await desk.turn(60)
    before = desk.sums()["owed/local"]
    other = msgspec.structs.replace(DEVICE, pool="other")
    for _ in range(24 * 7):
        await desk.turn(3600, devices=(other,))
    await desk.turn(60)
    await desk.turn(60)
    assert before - desk.sums()["owed/local"] < cost_nanousd(RATE, 0, 200 * S)


async def test_a_cold_start_is_borne_up_to_the_cap_whatever_pieces_it_is_booked_in(desk: Desk):
    """Over the turn of two hours it is still one start; the rest stays with the operator."""
    await desk.turn()
    lease = desk.lease(started_us=desk.now_us)
    await desk.turn()
    desk.clock.us += 2 * 3600 * S
    desk.lease(**msgspec.structs.asdict(lease) | {"ready_us": desk.now_us})
    desk.clock.us += 2 * S
    desk.served("q", 1, cold=True)
    await desk.turn(60)
    sums = desk.sums()
    assert sums["load/m@v1"] == pytest.approx(2 * RATE // 4, rel=0.01)
    assert sums["borne/a/load"] == -sums["moved/load/m@v1"] == LOAD_CAP_NANOUSD
    assert desk.store.audit({}).found == ()


async def test_a_device_without_a_rate_is_not_booked_as_free_of_charge(desk: Desk):
    """Unknown is unknown: the time passes, and no entry says 0."""
    unknown = msgspec.structs.replace(DEVICE, pool="unknown")
    await desk.turn(devices=(unknown,))
    await desk.turn(60, devices=(unknown,))
    await desk.turn(60, devices=(unknown,))
    assert desk.store.statements.booked()[device_name(unknown)] == desk.now_us - LAG_US
    assert desk.sums() == {}


async def test_a_rate_that_changes_within_an_hour_is_charged_from_its_moment(desk: Desk):
    """Each stretch at its own rate, to the nano-dollar; entries end at the hour as well."""
    await desk.turn()
    start_us = desk.store.statements.booked()[NAME]
    changed_us = start_us + 1000 * S
    desk.store.terms(rates=[Rate(pool="local", from_us=changed_us, nanousd_per_hour=3 * RATE, basis="on_demand")])
    desk.books = desk.fresh_terms()
    await desk.turn(2 * 3600)
    until_us = desk.store.statements.booked()[NAME]
    assert -desk.sums()["owed/local"] == cost_nanousd(RATE, start_us, changed_us) + cost_nanousd(
        3 * RATE, changed_us, until_us
    )
    assert all(entry.at_us - 1 < entry.hour_us + HOUR_US for _, entry in desk.store.statements.after(0, 1000))


async def test_booking_again_changes_nothing(desk: Desk):
    """A turn that is repeated, and a new process, find the time booked."""
    await desk.turn()
    await desk.turn(60)
    before = desk.store.statements.after(0, 1000)
    await desk.turn()
    desk.books = desk.fresh()
    desk.books.began(still_running=True)
    await desk.turn()
    assert desk.store.statements.after(0, 1000) == before


async def test_a_wall_clock_that_goes_back_books_no_moment_twice(desk: Desk):
    """The hour that comes again is not charged again."""
    await desk.turn()
    start_us = desk.store.statements.booked()[NAME]
    await desk.turn(600)
    real, back_us = desk.clock.now_us, 300 * S
    desk.clock.now_us = lambda: real() - back_us  # type: ignore[method-assign]
    for _ in range(10):
        await desk.turn(60)
    until_us = desk.store.statements.booked()[NAME]
    assert until_us == desk.now_us - LAG_US
    assert -desk.sums()["owed/local"] == cost_nanousd(RATE, start_us, until_us)


def test_a_time_is_cut_at_hours_and_where_a_price_begins():
    """Before the first price it is unknown, which is not booked as nothing."""
    rates = [
        Rate(pool="p", from_us=HOUR_US // 2, nanousd_per_hour=1),
        Rate(pool="p", from_us=2 * HOUR_US + 5, nanousd_per_hour=2),
    ]
    found = [(a, b, rate and rate.nanousd_per_hour) for a, b, rate in pieces(rates, 10, 3 * HOUR_US)]
    assert found == [
        (10, HOUR_US // 2, None), (HOUR_US // 2, HOUR_US, 1), (HOUR_US, 2 * HOUR_US, 1),
        (2 * HOUR_US, 2 * HOUR_US + 5, 1), (2 * HOUR_US + 5, 3 * HOUR_US, 2),
    ]  # fmt: skip
