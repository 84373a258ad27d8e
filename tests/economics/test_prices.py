"""Charges: exact, rounded up once, never less for more; and nothing that a price list needs is free by omission."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.prices import Book, by_time, charge_nanousd, charge_picousd, lines, price_id
from headrace.specs.priced import ITEMS, NEEDED, UNITS, missing
from headrace.state.table import Price

amounts = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 10**9))
units = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 10**9))


def price(per: dict[str, int], **more) -> Price:
    return Price(id="p", model="m@v1", units=per, **more)


@given(units, amounts)
def test_a_charge_is_the_exact_sum_rounded_up_once(per, used):
    """Less than a nano-dollar above it, never below; and its lines add up to it."""
    exact, charge = charge_picousd(price(per), used), charge_nanousd(price(per), used)
    assert 0 <= charge * 1000 - exact < 1000
    assert sum(amount * each for _, amount, each in lines(price(per), used)) == exact


@given(units, amounts, amounts)
def test_two_requests_are_never_cheaper_than_one_that_used_as_much(per, one, other):
    """Rounding is up, so splitting gains nothing; and it costs less than a nano-dollar."""
    both = {unit: one.get(unit, 0) + other.get(unit, 0) for unit in one.keys() | other.keys()}
    apart = charge_nanousd(price(per), one) + charge_nanousd(price(per), other)
    assert 0 <= apart - charge_nanousd(price(per), both) <= 1


@given(units, amounts, st.sampled_from(UNITS), st.integers(1, 10**9))
def test_more_of_anything_never_costs_less(per, used, unit, more):
    """In every unit."""
    assert charge_nanousd(price(per), {**used, unit: used.get(unit, 0) + more}) >= charge_nanousd(price(per), used)


def test_work_is_never_free():
    """A millionth of a nano-dollar is a nano-dollar."""
    assert charge_nanousd(price({"input_tokens": 1}), {"input_tokens": 1}) == 1


@pytest.mark.parametrize(("unit", "like"), [("cached_tokens", "input_tokens"), ("reasoning_tokens", "output_tokens")])
def test_a_kind_of_token_without_a_price_costs_what_its_kind_does(unit, like):
    """It is never free by omission; said to be 0 it is."""
    assert charge_nanousd(price({like: 5_000}), {unit: 7}) == 35
    assert charge_nanousd(price({like: 5_000, unit: 1_000}), {unit: 7}) == 7
    assert charge_nanousd(price({like: 5_000, unit: 0}), {unit: 7}) == 0


@pytest.mark.parametrize("task", sorted(NEEDED))
def test_a_list_that_does_not_price_a_task_says_what_is_missing(task):
    """Each unit alone; and whoever passes charges each piece of that task's work."""
    work = {"chat": {"input_tokens": 3, "output_tokens": 2}, "embed": {"input_tokens": 3, "embeddings": 1},
            "rerank": {"input_tokens": 3, "documents": 2}}.get(task, {ITEMS.get(task): 4}) | {"requests": 1, "busy_us": 9}  # fmt: skip
    for unit in UNITS:
        per = {unit: 1_000}
        if missing(task, per):
            assert unit not in {"requests", "busy_us"}
        else:
            assert charge_nanousd(price(per), work) > 0
    assert missing("chat", {"output_tokens": 1}) == "input_tokens and output_tokens or requests or busy_us"
    assert missing("a task of tomorrow", {"images": 1})


@given(st.integers(0, 10**13), st.integers(1, 10**6), st.integers(1, 256), st.integers(0, 5 * 10**6))
def test_time_at_cost_covers_the_device_and_hardly_more(rate, share, slots, markup):
    """All slots of all shares at work for an hour pay the device with its markup; over by rounding alone."""
    each = by_time(rate, share, slots, markup)
    exact = rate * 1000 * share * (10**6 + markup) / (3_600_000_000 * 10**12 * slots)
    assert exact <= each * (1 + 1e-12)
    assert each < exact + 1 + exact * 1e-12


@given(units, units)
def test_a_price_is_named_by_what_it_says(one, other):
    """The same has the same name for ever, another another; the order of units is nothing."""
    again = dict(reversed(one.items()))
    assert price_id("fixed", "m@v1", "", one) == price_id("fixed", "m@v1", "", again)
    assert (price_id("fixed", "m@v1", "", one) == price_id("fixed", "m@v1", "", other)) == (one == other)
    assert price_id("fixed", "m@v1", "t", one) != price_id("fixed", "m@v1", "", one)


def test_the_most_particular_price_wins_and_no_price_is_none():
    """Of the version for the tenant, then of the version; another version's is nobody's."""
    book = Book([price({"requests": 1}), price({"requests": 2}, tenant="t")])
    found = [book.find("m", "v1", "t"), book.find("m", "v1", "u")]
    assert [one and one.units["requests"] for one in found] == [2, 1]
    assert book.find("m", "v2", "t") is None
