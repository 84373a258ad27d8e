"""Kept awake as long as that is cheaper: no worse than twice the least before anything is known, better after."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.keepalive import KEEP_MIN_US, Keepalive, choose
from headrace.specs.catalog import PoolSpec, Scaling
from headrace.state.gaps import Gaps
from tests.policy.cloud import GIB, S, catalog, demand, spec

HOUR_NANOUSD = 3_600_000_000  # a millionth of a dollar a millisecond
WAKE = 60_000_000  # as much as a minute awake


def learned(*gaps_s: float) -> Gaps:
    gaps = Gaps()
    for gap_s in gaps_s:
        gaps = gaps.seen(round(gap_s * S))
    return gaps


def cost(until_us: int, from_us: int, to_us: int, gap_us: int, boot_us: int) -> float:
    """What one gap costs under those times, in nano-dollars."""
    each = HOUR_NANOUSD / 3_600_000_000
    if gap_us <= until_us:
        return each * gap_us
    if not to_us or gap_us <= from_us:
        return each * until_us + WAKE
    if gap_us <= to_us:
        return each * (until_us + gap_us - from_us) + (WAKE if gap_us < from_us + boot_us else 0)
    return each * (until_us + to_us - from_us) + WAKE


def test_before_anything_is_known_it_is_kept_until_idling_has_cost_a_wake() -> None:
    assert choose(Gaps(), HOUR_NANOUSD, WAKE, S).until_us == 60 * S


def test_short_gaps_keep_it_awake_and_long_ones_let_it_sleep() -> None:
    assert choose(learned(*[30] * 40), HOUR_NANOUSD, WAKE, S).until_us >= 30 * S
    assert choose(learned(*[3_000, 9_000, 700, 20_000, 1_500] * 8), HOUR_NANOUSD, WAKE, S).until_us == KEEP_MIN_US


def test_regular_uses_are_met_awake() -> None:
    """Every ten minutes: it sleeps in between and is there when it is asked."""
    found = choose(learned(*[600] * 40), HOUR_NANOUSD, WAKE, 5 * S)
    assert found.until_us == KEEP_MIN_US
    assert found.warm_from_us + 5 * S <= 600 * S <= found.warm_until_us
    assert found.warm_until_us - found.warm_from_us < 200 * S
    assert "uses come" in found.reason


@given(st.integers(0, 9))
def test_over_the_same_gaps_again_it_costs_no_more_than_either_simple_rule(seed: int) -> None:
    """Neither than keeping it until break-even, nor than sleeping at once, beyond the width of a bin."""
    rng = random.Random(seed)
    kind = rng.choice(["exponential", "regular", "two"])
    gaps = [
        rng.expovariate(1 / 90) + 1 if kind == "exponential"
        else rng.gauss(900, 15) if kind == "regular"
        else rng.choice([5.0, 5_000.0])
        for _ in range(200)
    ]  # fmt: skip
    found = choose(learned(*gaps), HOUR_NANOUSD, WAKE, S)
    ours = sum(cost(found.until_us, found.warm_from_us, found.warm_until_us, round(g * S), S) for g in gaps)
    for rule_us in (60 * S, KEEP_MIN_US):
        assert ours <= 1.15 * sum(cost(rule_us, 0, 0, round(g * S), S) for g in gaps)


def wanted(**changed: object):
    pool = PoolSpec(name="a", accelerator="cpu", count=1, memory_bytes=4 * GIB, price_nanousd_per_hour=4 * HOUR_NANOUSD)
    model = spec(scaling=Scaling(idle_auto=True, wait_nanousd_per_s=10_000_000, **changed), memory_bytes=GIB)
    return msgspec.structs.replace(catalog(model), pools=(pool,))


def test_it_learns_gaps_from_what_is_asked_and_says_when_it_wakes_ahead() -> None:
    keep, given_, now_us = Keepalive(), wanted(), 0
    for _ in range(20):
        now_us += 600 * S
        keep.over(given_, {"m@v1": demand(in_flight=1, last_us=now_us)}, {"m@v1": 5 * S}, now_us)
    assert 17 < keep.gaps["m@v1"].count <= 20
    asleep = keep.over(given_, {"m@v1": demand(last_us=now_us)}, {"m@v1": 5 * S}, now_us + 200 * S).models[0]
    assert asleep.scaling.min_replicas == 0
    assert keep.woken == {}
    ahead = keep.over(given_, {"m@v1": demand(last_us=now_us)}, {"m@v1": 5 * S}, now_us + 596 * S).models[0]
    assert ahead.scaling.min_replicas == 1
    assert "uses come" in keep.woken["m@v1"]


def test_who_did_not_ask_for_it_keeps_its_own_time() -> None:
    keep, plain = Keepalive(), catalog(spec())
    assert keep.over(plain, {"m@v1": demand()}, {}, 5) is plain
