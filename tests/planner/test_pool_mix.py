"""Mixes of devices: against every small mix, replicas packed one by one, and what is missing told exactly."""

import dataclasses
import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.planner.pool_mix import Class, Device, Model, alternatives, hourly, pool_mix

S = 1_000_000
SMALL, BIG = Device(name="small", nanousd_per_hour=10**9), Device(name="big", nanousd_per_hour=3 * 10**9)
ONE = Fraction(1)
CHAT = Model(name="chat", share={"small": ONE, "big": ONE})


def asks(bucket: str, rate: float, **work_s: float) -> Class:
    return Class(model="chat", bucket=bucket, rates=(rate,), work_us={on: work * S for on, work in work_s.items()})


def test_short_requests_go_to_the_cheap_device_and_long_ones_to_the_fast():
    """Short: 0.1 s on either; long: 10 s or 1 s. 5 and 2 a second: one small one and two big ones, of 7 dollars."""
    classes = [asks("short", 5, small=0.1, big=0.1), asks("long", 2, small=10, big=1)]
    found = pool_mix(classes, [CHAT], [SMALL, BIG])
    assert found.devices == {"small": 1, "big": 2}
    assert found.nanousd_per_hour == 7 * 10**9
    assert found.bound_nanousd_per_hour <= found.nanousd_per_hour
    assert found.routed["chat", "short", "small"] == (1.0,)
    alone = alternatives(classes, [CHAT], [SMALL, BIG])
    assert [one.nanousd_per_hour for one in alone] == [21 * 10**9, 9 * 10**9]


def test_small_replicas_share_a_device():
    """Four models of a quarter each on one device; without sharing it would be four."""
    models = [Model(name=name, share={"big": Fraction(1, 4)}) for name in "abcd"]
    classes = [Class(model=name, bucket="all", rates=(0.5,), work_us={"big": S}) for name in "abcd"]
    found = pool_mix(classes, models, [BIG])
    assert found.devices == {"big": 1}
    assert set(found.replicas.values()) == {1}
    whole = [dataclasses.replace(model, share={"big": ONE}) for model in models]
    assert pool_mix(classes, whole, [BIG]).devices == {"big": 4}


def test_a_replica_may_take_several_devices():
    found = pool_mix([asks("all", 1.5, big=1)], [Model(name="chat", share={"big": Fraction(2)})], [BIG])
    assert (found.replicas["chat", "big"], found.devices["big"]) == (2, 4)


def test_a_constant_mix_serves_the_worst_period_and_hourly_ones_save():
    busy = dataclasses.replace(asks("all", 1, big=1), rates=(3.0, 1.0, 0.0))
    assert pool_mix([busy], [CHAT], [BIG]).nanousd_per_hour == 9 * 10**9
    assert [one.nanousd_per_hour for one in hourly([busy], [CHAT], [BIG])] == [9 * 10**9, 3 * 10**9, 0]


def test_what_cannot_be_packed_is_given_shares_that_can():
    """Three of 2/3 add up to two devices, and stand on three."""
    models = [Model(name=name, share={"big": Fraction(2, 3)}) for name in "abc"]
    classes = [Class(model=name, bucket="all", rates=(0.5,), work_us={"big": S}) for name in "abc"]
    found = pool_mix(classes, models, [BIG])
    assert found.devices == {"big": 3}
    assert found.bound_nanousd_per_hour == pytest.approx(6 * 10**9, abs=10)
    with pytest.raises(Invalid, match="1 more of big"):
        pool_mix(classes, models, [dataclasses.replace(BIG, count=2)])


def test_too_few_devices_are_told_with_how_many_more_or_how_much_less():
    few = [dataclasses.replace(SMALL, count=1), dataclasses.replace(BIG, count=2)]
    with pytest.raises(Invalid, match=r"takes 2 more of big, or to send 50 % of chat all elsewhere"):
        pool_mix([asks("all", 4, big=1)], [CHAT], few)


def test_of_many_kinds_of_requests_the_first_few_are_named_and_the_others_counted():
    """The most requests first, however many models and lengths there are."""
    few = [dataclasses.replace(BIG, count=0)]
    classes = [asks(f"kind {number}", 1 + number, big=1) for number in range(12)]
    with pytest.raises(Invalid) as refused:
        pool_mix(classes, [CHAT], few)
    sent = "to send 100 % of chat kind 11, 100 % of chat kind 10, 100 % of chat kind 9 and of 9 more elsewhere"
    assert refused.value.message.endswith(sent)
    with pytest.raises(Invalid, match="to send 100 % of chat kind 1 and 100 % of chat kind 0 elsewhere"):
        pool_mix(classes[:2], [CHAT], few)


def test_promises_and_memory_that_no_device_has_are_named():
    with pytest.raises(Invalid, match="chat cannot keep its promises for long on any of small, big"):
        pool_mix([asks("short", 1, small=1), asks("long", 1)], [CHAT], [SMALL, BIG])
    with pytest.raises(Invalid, match="chat fits on none of small; give it a device with more memory"):
        pool_mix([asks("all", 1, big=1)], [Model(name="chat", share={"big": ONE})], [SMALL])
    found = alternatives([asks("all", 1, big=1)], [CHAT], [SMALL, BIG])
    assert (found[0].nanousd_per_hour, found[1].nanousd_per_hour) == (None, 3 * 10**9)
    assert "promises" in found[0].why


def packable(counts: list[int], shares: list[Fraction], devices: int) -> bool:
    """Every way to place replicas, the largest first."""

    def placed(left: list[Fraction], room: tuple[Fraction, ...]) -> bool:
        if not left:
            return True
        return any(
            placed(left[1:], (*room[:at], room[at] - left[0], *room[at + 1 :]))
            for at in range(len(room))
            if room[at] >= left[0] and room[at] not in room[:at]
        )

    replicas = sorted((share for count, share in zip(counts, shares, strict=True) for _ in range(count)), reverse=True)
    return placed(replicas, (ONE,) * devices)


shares = st.sampled_from([Fraction(1), Fraction(1, 2), Fraction(1, 4), Fraction(2, 3), Fraction(1, 3)])


@settings(max_examples=40)
@given(
    st.lists(st.tuples(shares, shares), min_size=1, max_size=2),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)), min_size=2, max_size=2),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_no_mix_is_cheaper(held: list[tuple], loads: list[tuple[int, int, int]], prices: tuple[int, int]):
    """Every number of whole replicas tried out, with devices that hold them: the bound is never above, the mix at most
    what packing costs."""
    loads = loads[: len(held)]
    assume(any(rate for rate, _, _ in loads))
    devices = [Device(name=name, nanousd_per_hour=price * 10**9) for name, price in zip("xy", prices, strict=True)]
    models = [Model(name=str(at), share=dict(zip("xy", one, strict=True))) for at, one in enumerate(held)]
    classes = [
        Class(model=str(at), bucket="all", rates=(rate / 2,), work_us={"x": x * S, "y": y * S})
        for at, (rate, x, y) in enumerate(loads)
    ]
    found = pool_mix(classes, models, devices)
    best = math.inf
    choices = []
    for rate, x, y in loads:
        most = math.ceil(rate / 2 * max(x, y))
        choices.append([(a, b) for a in range(most + 1) for b in range(most + 1) if a / x + b / y >= rate / 2 - 1e-9])
    for plan in itertools.product(*choices):
        cost = 0
        for side in range(2):
            counts, parts = [one[side] for one in plan], [one[side] for one in held]
            need = math.ceil(sum(count * part for count, part in zip(counts, parts, strict=True)))
            while not packable(counts, parts, need):
                need += 1
            cost += need * prices[side]
        best = min(best, cost)
    assert found.bound_nanousd_per_hour <= best * 10**9 <= found.nanousd_per_hour
    if all(share.numerator == 1 and share.denominator in (1, 2, 4) for one in held for share in one):
        assert found.nanousd_per_hour == best * 10**9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "other"}, "other has requests and no share"),
        ({"rates": ()}, "0 rates"),
        ({"rates": (-1.0,)}, "rate below 0"),
        ({"work_us": {"big": 0}}, "work of no time"),
    ],
)
def test_bad_input_is_named(change: dict, says: str):
    with pytest.raises(Invalid, match=says):
        pool_mix([dataclasses.replace(asks("all", 1, big=1), **change)], [CHAT], [BIG])
    with pytest.raises(Invalid, match="big is given twice"):
        pool_mix([asks("all", 1, big=1)], [CHAT], [BIG, BIG])
    with pytest.raises(Invalid, match="holds 3/2 of a big"):
        pool_mix([asks("all", 1, big=1)], [Model(name="chat", share={"big": Fraction(3, 2)})], [BIG])
