"""What the books say is the sum of what was written, whatever is asked: by dimension, by range, by tenant."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.economics.entries import HOUR_US
from headrace.economics.metering import quantities
from headrace.state.usage import Usage
from headrace.stores.sqlite import SqliteStore
from headrace.stores.statements import DIMENSIONS
from tests.stores.test_ledger import PRICE, cost, usage

KEYS = ("k1", "k2")


def row(number: int, tenant: str, key: str, hour: int, tokens: int) -> Usage:
    return Usage(
        request=f"r{number}", epoch="e", tenant=tenant, key=key, model="m", version="v1", task="chat", team="x" * (hour % 2),
        outcome="finished", status=200, arrived_us=hour * HOUR_US, ended_us=hour * HOUR_US + 5, input_tokens=tokens,
        cached_tokens=tokens // 3, output_tokens=tokens // 2, first_us=1, busy_us=9, charge_nanousd=tokens * 20, price="p",
    )  # fmt: skip


rows = st.lists(
    st.builds(row, st.just(0), st.sampled_from("ab"), st.sampled_from(KEYS), st.integers(0, 100), st.integers(0, 1000)),
    max_size=30,
).map(lambda found: [row(n, r.tenant, r.key, r.arrived_us // HOUR_US, r.input_tokens) for n, r in enumerate(found)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows,
    st.lists(st.sampled_from(DIMENSIONS), unique=True, max_size=4),
    st.integers(0, 100),
    st.integers(0, 110),
    st.sampled_from([None, "a"]),
)
def test_any_grouping_of_any_range_is_the_sum_of_its_records(tmp_path_factory, found, by, start, end, tenant):
    """Amounts by unit, requests without; charges to the nano-dollar; hours and days agree."""
    store = SqliteStore(tmp_path_factory.mktemp("s") / "b.db")
    store.terms(prices=[PRICE])
    store.usage_add(found, {})
    amounts: Counter[tuple[object, ...]] = Counter()
    charges: Counter[tuple[object, ...]] = Counter()
    for one in found:
        used = quantities(one)
        hour_us = one.ended_us - one.ended_us % HOUR_US
        if not used or not start * HOUR_US <= hour_us < end * HOUR_US or tenant not in (None, one.tenant):
            continue
        for unit, amount in used.items() if "unit" in by else [("", 1)]:
            said_of = {"hour_us": hour_us, "unit": unit}
            place = tuple(said_of[name] if name in said_of else getattr(one, name) for name in by)
            amounts[place] += amount
            charges[place] += one.charge_nanousd
    said = store.statements.spend(tuple(by), start * HOUR_US, end * HOUR_US, tenant)
    assert {tuple(line[name] for name in by): line["amount"] for line in said} == dict(amounts)
    if "unit" not in by:
        assert {tuple(line[name] for name in by): line["charge_nanousd"] for line in said} == dict(charges)
    assert len(said) == len(amounts), "one line a place"
    store.close()


@pytest.fixture
def store(tmp_path: Path):
    made = SqliteStore(tmp_path / "b.db")
    yield made
    made.close()


def test_entries_are_read_in_order_and_by_what_they_are_about(store):
    """A page ends where the next one begins."""
    store.post([cost(f"q{n % 3}", n + 1, hour=n, account="idle/m@v1") for n in range(3)])
    store.post([cost(f"x{n}", 1, account="") for n in range(4)])
    first = store.statements.after(0, 4)
    assert [seq for seq, _ in first + store.statements.after(first[-1][0], 100)] == list(range(1, 8))
    assert [entry.nanousd for entry in store.statements.entries("q1")] == [2]
    assert store.statements.entries("") == []


def test_balances_of_a_range_leave_out_what_is_around_it(store):
    """From its first hour to before its last."""
    store.post([cost(f"q{n}", 10**n, hour=n, account="idle/m@v1", kind="idle") for n in range(4)])
    assert store.statements.balances(HOUR_US, 3 * HOUR_US) == {"idle/m@v1": 110, "owed/p": -110}
    assert store.statements.hourly("idle/m@v1", 2 * HOUR_US, 9 * HOUR_US) == {2 * HOUR_US: 100, 3 * HOUR_US: 1000}


def test_what_is_not_there_is_not_there(store):
    """No row of nothing, and no error."""
    books = store.statements
    assert (books.spend((), 0, 1), books.spend(("tenant",), 5, 5), books.balances(0, 1)) == ([], [], {})
    assert (books.booked(), books.price("p"), books.prices(), books.rates(), books.budgets()) == ({}, None, [], [], [])


def test_only_known_dimensions_are_asked_for(store):
    """No text of a caller becomes SQL."""
    with pytest.raises(AssertionError):
        store.statements.spend(("tenant; DROP TABLE entry",), 0, 1)


def test_a_row_with_nothing_used_costs_nothing_and_counts_nothing(store):
    """A refusal is in the usage records, not on a bill."""
    assert store.usage_add([usage("r", charge=0)], {}) == 1
    refused = Usage(request="z", epoch="e", tenant="a", key="k", model="m", task="chat", outcome="refused", status=429,
                    arrived_us=1, ended_us=2)  # fmt: skip
    store.usage_add([refused], {})
    (whole,) = store.statements.spend((), 0, 1 << 60)
    assert (whole["amount"], whole["charge_nanousd"]) == (1, 0)
