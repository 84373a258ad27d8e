"""Entries: named by what they are about, chained over all they say, and balanced by construction."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.booking import Part
from headrace.economics.entries import (
    FIRST_HASH,
    HOUR_US,
    Entry,
    balances,
    chained,
    charge,
    cost,
    entry_id,
    hour_of,
    reversal,
)
from headrace.state.usage import Usage

texts = st.text(max_size=8)
accounts = st.sampled_from(["owed/p", "used/a/m@v1", "idle/m@v1", "due/a", "revenue/m@v1"])
entries = st.builds(
    Entry, id=st.binary(min_size=16, max_size=16), at_us=st.integers(0, 1 << 60), hour_us=st.integers(0, 1 << 60),
    book=st.sampled_from(["cost", "price"]), kind=texts, debit=accounts, credit=accounts,
    nanousd=st.integers(0, 1 << 50), subject=texts, note=texts,
)  # fmt: skip


@given(st.lists(entries))
def test_all_balances_together_are_nothing(found):
    """Whatever was posted."""
    assert sum(balances(found).values()) == 0


@given(st.lists(entries), st.integers(0, 1 << 60))
def test_what_is_taken_back_leaves_nothing(found, at_us):
    """An entry and its reversal cancel in every account; they have their own names."""
    back = [reversal(entry, at_us, "why") for entry in found]
    assert not any(balances([*found, *back]).values())
    assert all(one.id != other.id for one, other in zip(found, back, strict=True))


@given(entries, st.sampled_from(Entry.__struct_fields__), st.data())
def test_the_hash_is_over_all_an_entry_says(entry, field, data):
    """One field changed is another hash, and so is another one before it."""
    other = msgspec.structs.replace(entry, **{field: getattr(data.draw(entries), field)})
    same = getattr(other, field) == getattr(entry, field)
    assert (chained(FIRST_HASH, entry) == chained(FIRST_HASH, other)) == same
    assert chained(FIRST_HASH, entry) != chained(b"\1" * 32, entry)


@given(st.lists(texts.filter(lambda text: "\0" not in text)), st.lists(texts.filter(lambda text: "\0" not in text)))
def test_what_is_about_the_same_has_the_same_name(one, other):
    """And nothing else has it: parts do not run into each other."""
    assert (entry_id(*one) == entry_id(*other)) == (
        one == other or ({len(one), len(other)} == {0, 1} and "" in one + other)
    )


def usage(**more) -> Usage:
    return Usage(request="q", epoch="e", tenant="t", key="k", model="m", version="v1", task="chat", outcome="finished",
                 status=200, arrived_us=1, ended_us=HOUR_US + 5, **more)  # fmt: skip


def test_a_charge_is_due_from_the_tenant_and_revenue_of_the_model():
    """Once a request, in the hour in which it ended; nothing is no entry."""
    made = charge(usage(charge_nanousd=7, price="p"))
    assert made is not None
    assert (made.debit, made.credit, made.nanousd, made.note) == ("due/t", "revenue/m@v1", 7, "p")
    assert made.hour_us == hour_of(made.at_us) == HOUR_US
    again = charge(usage(charge_nanousd=9))
    assert again is not None
    assert again.id == made.id
    assert charge(usage()) is None


def test_each_part_of_a_booking_has_its_account():
    """What requests took by tenant and model, overheads by cause, free capacity by pool; all against the pool."""
    found = {}
    for cause in ("request", "load", "idle", "drain", "failed", "free"):
        part = Part(cause=cause, subject="s", lease="r/1", model="" if cause == "free" else "m@v1", nanousd=5)
        made = cost(part, pool="p", device="p/n/d", from_us=0, to_us=9, hour_us=0, tenant="t")
        found[cause] = made.debit
        assert (made.credit, made.nanousd, made.at_us) == ("owed/p", 5, 9)
    assert found == {
        "request": "used/t/m@v1", "load": "load/m@v1", "idle": "idle/m@v1", "drain": "drain/m@v1",
        "failed": "failed/m@v1", "free": "free/p",
    }  # fmt: skip
