"""The ledger in a real database: whatever is posted, in whatever order and however often, it balances and is chained."""

from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.economics.entries import FIRST_HASH, HOUR_US, Entry, balances, chained, entry_id, reversal
from headrace.state.table import Price
from headrace.state.usage import Usage
from headrace.stores.sqlite import SqliteStore

PRICE = Price(id="p", model="m@v1", units={"input_tokens": 20_000, "output_tokens": 80_000})
ALL = (0, 1 << 60)
hours = st.integers(0, 60)
tenants = st.sampled_from(["a", "b"])


def usage(name: str, tenant: str = "a", hour: int = 1, charge: int = 1500, **more) -> Usage:
    return Usage(
        request=name, epoch="e", tenant=tenant, key="k", model="m", version="v1", task="chat", outcome="finished",
        status=200, arrived_us=hour * HOUR_US, ended_us=hour * HOUR_US + 5, input_tokens=10, output_tokens=5,
        first_us=1, busy_us=9, charge_nanousd=charge, price="p", budgets=(f"tenant:{tenant}|day|d",), **more,
    )  # fmt: skip


def cost(name: str, nanousd: int = 7, hour: int = 1, account: str = "used/a/m@v1", kind: str = "request") -> Entry:
    return Entry(
        id=entry_id("t", name), at_us=hour * HOUR_US, hour_us=hour * HOUR_US, book="cost", kind=kind, debit=account,
        credit="owed/p", nanousd=nanousd, subject=name,
    )  # fmt: skip


class Books(RuleBasedStateMachine):
    """Rows, costs and corrections, again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = SqliteStore(Path(self.folder.name) / "b.db")
        self.store.terms(prices=[PRICE])
        self.charged: dict[str, int] = {}
        self.posted: dict[bytes, Entry] = {}
        self.booked_us = 0
        self.costs = 0

    @rule(number=st.integers(0, 30), tenant=tenants, hour=hours, charge=st.integers(0, 10**6))
    def a_row(self, number: int, tenant: str, hour: int, charge: int) -> None:
        name = f"r{number}"
        new = self.store.usage_add([usage(name, tenant, hour, charge)], {})
        assert new == (name not in self.charged)
        self.charged.setdefault(name, charge)

    @rule(number=st.integers(0, 30), amount=st.integers(0, 10**9), hour=hours)
    def an_entry(self, number: int, amount: int, hour: int) -> None:
        entry = cost(f"i{number}", amount, hour, "idle/m@v1", "idle")
        assert self.store.post([entry, entry]) == (entry.id not in self.posted)
        self.posted.setdefault(entry.id, entry)

    @rule(by=st.integers(-5, 100), amount=st.integers(1, 10**6))
    def a_booking(self, by: int, amount: int) -> None:
        until_us = self.booked_us + by
        row = usage(f"c{until_us}")
        entry = cost(row.request, amount)
        new = self.store.book("d", until_us, [entry], [(row, amount)])
        if until_us > self.booked_us:
            self.booked_us = until_us
            self.costs += amount
            assert new == 1
        else:
            assert new == 0

    @rule(data=st.data())
    def a_correction(self, data: st.DataObject) -> None:
        if self.posted:
            entry = data.draw(st.sampled_from(sorted(self.posted.values(), key=lambda e: e.id)))
            self.store.post([reversal(entry, 5, "it was wrong")])

    @rule(data=st.data(), amount=st.integers(0, 10**6))
    def the_same_again_with_another_amount(self, data: st.DataObject, amount: int) -> None:
        """What stands stands: neither the entry nor a roll-up changes."""
        if self.posted:
            entry = data.draw(st.sampled_from(sorted(self.posted.values(), key=lambda e: e.id)))
            assert self.store.post([msgspec.structs.replace(entry, nanousd=amount, debit="idle/x@v1")]) == 0

    @rule(number=st.integers(0, 30))
    def a_charge_taken_back(self, number: int) -> None:
        name = f"r{number}"
        for entry in self.store.statements.entries(name):
            if entry.kind == "charge":
                self.store.post([reversal(entry, 7 * HOUR_US, "it was wrong")])

    @rule()
    def a_new_process(self) -> None:
        self.store.close()
        self.store = SqliteStore(Path(self.folder.name) / "b.db")

    @invariant()
    def roll_ups_are_the_sums_of_entries_and_the_chain_holds(self) -> None:
        every = self.store.statements.after(0, 10_000)
        assert [seq for seq, _ in every] == list(range(1, len(every) + 1))
        sums = {account: amount for account, amount in balances(entry for _, entry in every).items() if amount}
        assert {a: n for a, n in self.store.statements.balances(*ALL).items() if n} == sums
        before = FIRST_HASH
        for (_, entry), (kept,) in zip(
            every, self.store._db.execute("SELECT hash FROM entry ORDER BY seq"), strict=True
        ):
            before = chained(before, entry)
            assert before == kept

    @invariant()
    def it_balances(self) -> None:
        books = self.store.statements
        assert sum(books.balances(*ALL).values()) == 0
        whole = books.spend((), *ALL)
        assert sum(row["charge_nanousd"] for row in whole) == sum(self.charged.values())
        assert sum(row["cost_nanousd"] for row in whole) == self.costs
        by_hour = books.spend(("hour_us",), *ALL)
        assert sum(row["charge_nanousd"] for row in by_hour) == sum(self.charged.values())
        spent = sum(sum(by.values()) for by in books.budget_spent().values())
        assert spent == sum(self.charged.values())

    def teardown(self) -> None:
        found = self.store.audit({})
        self.store.close()
        self.folder.cleanup()
        assert found.found == ()


Books.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase


@pytest.fixture
def store(tmp_path: Path):
    made = SqliteStore(tmp_path / "b.db")
    made.terms(prices=[PRICE])
    yield made
    made.close()


@pytest.mark.parametrize("change", ["UPDATE entry SET nanousd = 0", "DELETE FROM entry"])
def test_an_entry_is_never_changed_nor_removed(store, change):
    """The database itself refuses."""
    store.post([cost("x")])
    with pytest.raises(apsw.ConstraintError, match="never"):
        store._db.execute(change)


def test_a_month_is_read_from_days_and_says_the_same_as_hours(store):
    """Whatever range is asked, days and hours agree."""
    for number in range(200):
        store.usage_add([usage(f"r{number}", "ab"[number % 2], hour=number, charge=number + 1)], {})
    for start, end in [(0, 200), (5, 30), (23, 25), (24, 48), (7, 191), (30, 31)]:
        span = (start * HOUR_US, end * HOUR_US)
        found = store.statements.spend(("tenant",), *span)
        by_hour = store.statements.spend(("tenant", "hour_us"), *span)
        for row in found:
            mine = [one for one in by_hour if one["tenant"] == row["tenant"]]
            assert row["charge_nanousd"] == sum(one["charge_nanousd"] for one in mine)
            assert row["amount"] == sum(one["amount"] for one in mine)
        assert sum(row["charge_nanousd"] for row in found) == sum(range(start + 1, end + 1))


def test_what_a_dead_gateway_spent_stays_spent(store):
    """It is nobody's in particular any more."""
    store.usage_add([usage("r1"), usage("r2")], {})
    store.epoch_ended("e")
    assert store.statements.budget_spent() == {"tenant:a|day|d": {"": 3000}}


def test_a_correction_is_a_further_entry(store):
    """The same amount the other way, in the hour of the correction; what was wrong stays to be seen."""
    store.usage_add([usage("r1", hour=1)], {})
    (wrong,) = store.statements.entries("r1")
    assert store.post([reversal(wrong, 9 * HOUR_US + 1, "it was wrong")]) == 1
    assert store.post([reversal(wrong, 11 * HOUR_US, "again")]) == 0
    assert store.statements.hourly("due/a", *ALL) == {HOUR_US: 1500, 9 * HOUR_US: -1500}
    assert store.audit({}).ok
