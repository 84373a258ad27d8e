"""Schedules can be run, cost what they say, and stand above the bound; small ones are the best there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.planner.optimum import Pool
from headrace.planner.schedule import schedule

S = 1_000_000
SLOT = 30 * S
DOLLAR_A_SLOT = 120 * 10**9


def work(*replicas: float) -> np.ndarray:
    return np.array(replicas) * SLOT


def undone(plan: np.ndarray, loads: list[int], boot: int, least: int, *, waits: bool) -> float:
    """What whole replicas leave undone, worked out replica by replica; infinite when a minimum is not held.

    Replicas are alike, so the oldest is stopped first.
    """
    able, since = [], []
    for slot, count in enumerate(int(one) for one in plan):
        stopped, since = since[: max(0, len(since) - count)], since[max(0, len(since) - count) :]
        if any(slot - first < least for first in stopped):
            return np.inf
        since += [slot or -99] * (count - len(since))
        able.append(sum(slot - first >= boot for first in since))
    left = missed = 0.0
    for slot, load in enumerate(loads):
        left = max(0.0, left + load - able[slot])
        over = max(0.0, left - (load if waits and slot < len(loads) - 1 else 0))
        left, missed = left - over, missed + over
    return missed


cases = st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.integers(0, 2), st.integers(0, 3))


@settings(max_examples=40, deadline=None)
@given(cases, st.booleans(), st.booleans())
def test_a_schedule_can_be_run_and_is_the_best_when_there_is_time(case, waits: bool, search: bool):
    """Against every schedule of up to four replicas; only rounded ones may be dearer."""
    loads, boot, least = case
    pool = Pool(name="a", nanousd_per_hour=DOLLAR_A_SLOT, boot_us=boot * SLOT, billing_min_us=least * SLOT)
    found = schedule(work(*loads), [pool], missed=0, late_us=SLOT if waits else 0, limit_s=30 if search else 0)
    plan = found.replicas["a"]
    assert undone(plan, loads, boot, least, waits=waits) <= 1e-6
    assert found.nanousd == int(plan.sum()) * 10**9
    assert found.bound_nanousd <= found.nanousd
    best = min(
        sum(one)
        for one in itertools.product(range(4), repeat=len(loads))
        if undone(np.array(one), loads, boot, least, waits=waits) <= 1e-6
    )
    assert found.bound_nanousd <= best * 10**9
    assert found.nanousd == best * 10**9 if search else found.nanousd >= best * 10**9


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=130, max_size=160), st.integers(0, 4), st.integers(0, 4))
def test_solving_stretches_only_makes_it_cheaper(loads: list[int], boot: int, least: int):
    """Two pools and more slots than a stretch: it can be run, too, and counts hold."""
    pools = [
        Pool(name="a", nanousd_per_hour=10**9, boot_us=boot * SLOT, billing_min_us=least * SLOT),
        Pool(name="b", nanousd_per_hour=3 * 10**8, capacity=0.27, count=2),
    ]
    arriving = [load / 100 for load in loads]
    rounded = schedule(work(*arriving), pools, limit_s=0)
    better = schedule(work(*arriving), pools, limit_s=0.3)
    assert better.bound_nanousd <= better.nanousd <= rounded.nanousd
    assert better.bound_nanousd == rounded.bound_nanousd
    assert better.replicas["b"].max() <= 2
    assert 0 <= better.gap <= rounded.gap <= 1


def test_nothing_to_do_costs_nothing():
    found = schedule(work(0, 0, 0), [Pool(name="a", nanousd_per_hour=10**9)])
    assert (found.nanousd, found.bound_nanousd, found.gap) == (0, 0, 0.0)


def test_what_no_fleet_can_do_is_told():
    with pytest.raises(Invalid, match="give them 2 more"):
        schedule(work(5, 5, 5), [Pool(name="a", nanousd_per_hour=1, count=3)], missed=0)
