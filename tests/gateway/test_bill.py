"""A request's money: its worst case covers every charge, and the charge depends on the usage facts alone."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.metering import quantities
from headrace.economics.prices import Book, charge_nanousd
from headrace.errors import Refused
from headrace.gateway.bill import BUSY_US_MAX, Bill
from headrace.gateway.record import Name, Record
from headrace.policy.actions import Assign
from headrace.state.table import Price, RouteBudget
from headrace.wire.endpoint import endpoint
from headrace.wire.usage import Counts
from tests.gateway.world import HI, UNITS, model, table

KEY = table(1, []).keys[0]
CONTEXT = 4096
units = st.dictionaries(
    st.sampled_from(["input_tokens", "cached_tokens", "output_tokens", "requests", "busy_us"]), st.integers(0, 10**7)
)


def read(**changes: Any):
    """A chat call, as a client sends it."""
    target = endpoint("/v1/chat/completions")
    assert target is not None
    return target.read(msgspec.json.encode({**HI, **changes}))


def billed(per: dict[str, int], *, versions: int = 1, **more: Any) -> Bill:
    models = [model(version=f"v{n + 1}") for n in range(versions)]
    prices = [Price(id=f"p{n + 1}", model=f"m@v{n + 1}", units=per) for n in range(versions)]
    return Bill(Book(prices), models, msgspec.structs.replace(KEY, **more), 0)


@given(
    units,
    st.integers(0, 300),
    st.integers(0, 1 << 20),
    st.integers(0, CONTEXT),
    st.integers(1, 4),
    st.integers(0, BUSY_US_MAX),
)
def test_the_worst_case_covers_whatever_it_comes_to(per, words, cached, answer, choices, busy_us):
    """No charge passes it, whatever the engine counts within the law: a token is a byte at least."""
    call = read(messages=[{"role": "user", "content": "x" * words}], n=choices)
    bill = billed(per)
    bill.bind(call, call.output_bound(64, CONTEXT), CONTEXT)
    bill.served_by("m@v1")
    tokens = min(words, CONTEXT)
    counts = Counts(input_tokens=tokens, cached_tokens=min(cached, tokens), output_tokens=min(answer, choices * 16))
    charge = bill.settle("chat", "finished", counts, began=True, busy_us=busy_us)
    price = Price(id="p1", model="m@v1", units=per)
    used = {
        "input_tokens": counts.input_tokens - counts.cached_tokens, "cached_tokens": counts.cached_tokens,
        "output_tokens": counts.output_tokens, "requests": 1, "busy_us": busy_us,
    }  # fmt: skip
    worked = counts.input_tokens or counts.output_tokens or busy_us
    assert charge == (charge_nanousd(price, used) if worked else 0) <= bill.bound


def test_an_engine_that_counts_more_is_paid_up_to_the_worst_case():
    """The rest is ours to bear: what was held is never passed."""
    bill = billed(UNITS)
    bill.bind(read(), 16, CONTEXT)
    bill.served_by("m@v1")
    assert bill.settle("chat", "finished", Counts(output_tokens=10**6), began=True, busy_us=1) == bill.bound


@given(
    st.booleans(),
    st.sampled_from(["finished", "cancelled", "failed", "refused"]),
    st.integers(0, 16),
    st.integers(0, 50),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_streamed_buffered_and_cancelled_are_charged_by_one_rule(stream, outcome, tokens, prompt, busy_us, began):
    """The charge in the record is the price of the quantities of the record: how it travelled is nobody's business."""
    call = read(stream=stream)
    bill = billed({**UNITS, "busy_us": 3})
    bill.bind(call, 16, CONTEXT)
    record = Record(Name("req_1", "e"), KEY, model(), call, bill)
    record.arrived_us = 1
    record.assigned(Assign("req_1", "r0", "i0", "v1", "why"), 2)
    record.first_us = 3 if began else 0
    record.released(2 + busy_us)
    row = record.usage(outcome, 200, Counts(input_tokens=prompt, output_tokens=tokens), 5 + busy_us, "", "")
    used = quantities(row)
    assert row.charge_nanousd == min(bill.bound, charge_nanousd(bill.price or Price(id="", model=""), used))
    if outcome == "refused" or (outcome == "failed" and not began):
        assert row.charge_nanousd == 0
    elif tokens or prompt or busy_us:
        assert row.charge_nanousd > 0


def test_a_version_that_came_while_the_request_was_held_is_not_free():
    """It was admitted at the price of another version; the dearest of those pinned holds, within what was held."""
    models = [model(version="v1"), model(version="v2")]
    cheap, dear = (
        Price(id=n, model=f"m@{v}", units={"requests": p}) for n, v, p in (("c", "v1", 10_000), ("d", "v2", 90_000))
    )
    bill = Bill(Book([cheap, dear]), models, KEY, 0)
    bill.bind(read(), 16, CONTEXT)
    bill.served_by("m@v3")
    assert bill.settle("chat", "finished", Counts(output_tokens=1), began=True, busy_us=1) == 90 == bill.bound
    bill.reopen()
    bill.served_by("m@v1")
    assert bill.settle("chat", "finished", Counts(output_tokens=1), began=True, busy_us=1) == 10


def test_the_first_sum_stands_until_the_attempt_came_to_nothing():
    """The client was shown it; the record says the same."""
    bill = billed(UNITS)
    bill.bind(read(), 16, CONTEXT)
    bill.served_by("m@v1")
    first = bill.settle("chat", "finished", Counts(output_tokens=2), began=True, busy_us=1)
    assert bill.settle("chat", "finished", Counts(output_tokens=9), began=True, busy_us=1) == first
    bill.reopen()
    assert bill.settle("chat", "failed", Counts(), began=False, busy_us=0) == 0


def test_no_price_is_no_service():
    """Never free: 503, not to be had yet."""
    bill = Bill(Book([]), [model()], KEY, 0)
    with pytest.raises(Refused, match="no price yet") as caught:
        bill.bind(read(), 16, CONTEXT)
    assert caught.value.status == 503


def test_a_tenants_own_price_comes_first():
    """And a price of another tenant never."""
    prices = [
        Price(id="all", model="m@v1", units={"requests": 1_000}),
        Price(id="own", model="m@v1", units={"requests": 5_000}, tenant="t"),
        Price(id="other", model="m@v1", units={"requests": 9_000}, tenant="u"),
    ]
    bill = Bill(Book(prices), [model()], KEY, 0)
    bill.bind(read(), 16, CONTEXT)
    bill.served_by("m@v1")
    assert (bill.price and bill.price.id, bill.bound) == ("own", 5)


@given(st.integers(0, 100_000), st.integers(1, 4), st.integers(0, 10**5), st.integers(0, 10**5))
def test_a_shortened_answer_is_covered_by_what_is_left(left, choices, prompt_price, answer_price):
    """Its new worst case fits, and it asks for a token at least; or it says that nothing fits."""
    call = read(max_tokens=1000, n=choices)
    bill = billed({"input_tokens": prompt_price, "output_tokens": answer_price})
    if bill.shorten(call, CONTEXT, left):
        assert 1 <= (call.output_max or 0) <= CONTEXT
        bill.bind(call, call.output_bound(64, CONTEXT), CONTEXT)
        assert bill.bound <= left
        assert f"allows {call.output_max} tokens" in bill.note
    else:
        assert call.output_max == 1000


def test_budgets_count_and_hold_as_they_say():
    """All count; those that only notify hold nothing; an answer is shortened only when every budget says so."""
    modes = {"day": "refuse", "month": "notify", "total": "degrade"}
    budgets = tuple(RouteBudget(scope="tenant:t", period=p, at_limit=m) for p, m in modes.items())
    bill = billed(UNITS, budgets=budgets)
    assert bill.budgets == ("tenant:t|day|1970-01-01", "tenant:t|month|1970-01", "tenant:t|total|ever")
    assert bill.held_in == (bill.budgets[0], bill.budgets[2])
    assert not bill.degrades
    assert billed(UNITS, budgets=budgets[1:]).degrades
