"""Splits are exact, nobody pays less than nothing, and the closed form is the Shapley value of the step's game."""

import itertools
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.economics.sharing import SCALE, Member, busy_us, rates, split, weights
from headrace.economics.work import WorkModel

parts = st.lists(st.integers(0, 10**12), min_size=1, max_size=20)


@given(st.integers(0, 10**18), parts, st.integers(0, 1000))
def test_a_split_is_exact_and_fair_to_one_unit(amount, by, turn):
    """Nothing is lost, nothing negative; everybody is within one of the exact share, and 0 weight bears nothing."""
    found = split(amount, by, turn)
    assert sum(found) == amount
    total = sum(by)
    for share, weight in zip(found, by, strict=True):
        exact = Fraction(amount * weight, total) if total else Fraction(amount, len(by))
        assert abs(share - exact) < 1
        assert share >= 0
        assert share == 0 or weight or not total or len(by) == 1


@given(parts, st.integers(1, 10**6))
def test_remainders_go_round(by, amount):
    """Over as many turns as there are parties, whoever weighs as much bears about as much."""
    count = len(by)
    equal = [1] * count
    sums = [sum(column) for column in zip(*(split(amount, equal, turn) for turn in range(count)), strict=True)]
    assert sums == [amount] * count


@given(st.integers(0, 1000), st.lists(st.integers(0, 1000), min_size=1, max_size=5))
def test_the_closed_form_is_the_shapley_value(fixed, own):
    """F / n + v_r, beside the definition over all orders of arrival."""
    cost = lambda group: fixed + sum(own[each] for each in group) if group else 0  # noqa: E731 - the game
    orders = list(itertools.permutations(range(len(own))))
    for who in range(len(own)):
        margins = 0
        for order in orders:
            before = order[: order.index(who)]
            margins += cost((*before, who)) - cost(before)
        assert Fraction(margins, len(orders)) == Fraction(fixed, len(own)) + own[who]


@given(st.lists(st.integers(0, SCALE), min_size=1, max_size=10), st.integers(0, 10**12))
def test_shares_of_a_stretch_are_that_value(own, amount):
    """The fixed part is what own work leaves of the stretch; where the model says too much, own work scales."""
    assume(sum(own))
    shares = weights(own)
    found = split(amount, [mine + fixed for mine, fixed in shares])
    fixed = max(0, SCALE - sum(own))
    for share, rate in zip(found, own, strict=True):
        exact = amount * (Fraction(fixed, len(own)) + rate) / (fixed + sum(own))
        assert abs(share - exact) < 1


@given(st.permutations([5, 5, 9]))
def test_who_did_the_same_bears_the_same(own):
    """Symmetric: by weight, not by place."""
    by = [mine + fixed for mine, fixed in weights([each * 1000 for each in own])]
    assert sorted(by) == sorted(mine + fixed for mine, fixed in weights([5000, 5000, 9000]))


members = st.builds(
    lambda start, reading, writing, prefill, decode, items: Member(
        request="r", start_us=start, first_us=start + reading, end_us=start + reading + writing, prefill_tokens=prefill,
        decode_tokens=decode, items=items),
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**4), st.integers(0, 10**4),
    st.integers(0, 10),
)  # fmt: skip


@given(members, st.integers(0, 10**7), st.integers(0, 10**7))
def test_own_work_is_a_part_of_the_time(member, prefill_ns, decode_ns):
    """Never negative, never more than all; and what has no phase is counted in the other."""
    model = WorkModel(prefill_ns=prefill_ns, decode_ns=decode_ns, item_ns=1000)
    reading, writing = rates(member, model)
    assert 0 <= reading <= SCALE
    assert 0 <= writing <= SCALE
    assert member.first_us > member.start_us or not reading
    assert member.end_us > member.first_us or not writing


@given(st.lists(members, max_size=12))
def test_busy_time_is_the_union_of_stays(found):
    """Beside the sum over microseconds at which something changes."""
    cuts = sorted({cut for m in found for cut in (m.start_us, m.end_us)})
    slow = sum(b - a for a, b in itertools.pairwise(cuts) if any(m.start_us <= a and m.end_us >= b for m in found))
    assert busy_us(found) == slow
