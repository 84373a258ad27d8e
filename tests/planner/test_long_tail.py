"""The optimum of exclusive work: against every cover of small cases, and what can be worked out by hand."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.planner.long_tail import Intervals, long_tail

HOUR = 3_600_000_000
CENTS = {"boot_us": 20, "nanousd_per_hour": HOUR}  # a nano-dollar a microsecond
requests = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12), st.integers(0, 2)), min_size=2, max_size=5)


def intervals(rows: list[tuple[int, int, int]]) -> Intervals:
    """Of start, length and model."""
    start, length, model = (np.array([row[at] for row in rows], np.int64) for at in range(3))
    return Intervals(start_us=start, end_us=start + length, model=model)


def cheapest(rows: list[tuple[int, int, int]], loads: list[int], boot: int) -> int:
    """Every way to say which request came before which on its device."""
    best = None
    for before in itertools.product(range(-1, len(rows)), repeat=len(rows)):
        taken = [one for one in before if one >= 0]
        if len(set(taken)) < len(taken):
            continue
        cost = 0
        for after, one in enumerate(before):
            start, length, model = rows[after]
            cost += length
            if one < 0:
                cost += boot + loads[model]
                continue
            gap = start - rows[one][0] - rows[one][1]
            if after == one or gap < (loads[model] if rows[one][2] != model else 0):
                break
            cost += gap
        else:
            best = cost if best is None else min(best, cost)
    assert best is not None
    return best


@settings(max_examples=60)
@given(requests, st.lists(st.integers(0, 15), min_size=3, max_size=3), st.integers(0, 25))
def test_no_cover_is_cheaper(rows: list[tuple[int, int, int]], loads: list[int], boot: int):
    found = long_tail(intervals(rows), loads, boot_us=boot, nanousd_per_hour=HOUR)
    assert found.device_us == found.nanousd == cheapest(rows, loads, boot)
    assert found.boots + found.reused == len(rows)
    assert found.busy_us == sum(length for _, length, _ in rows)


@settings(max_examples=60)
@given(requests, st.integers(0, 15), st.integers(0, 25), st.integers(1, 9))
def test_slower_starts_are_never_cheaper(rows: list[tuple[int, int, int]], load: int, boot: int, more: int):
    least = long_tail(intervals(rows), [load] * 3, boot_us=boot, nanousd_per_hour=HOUR).device_us
    assert least <= long_tail(intervals(rows), [load] * 3, boot_us=boot + more, nanousd_per_hour=HOUR).device_us
    assert least <= long_tail(intervals(rows), [load + more] * 3, boot_us=boot, nanousd_per_hour=HOUR).device_us


def test_a_device_waits_swaps_or_is_given_back():
    """Boot 20, load 5: a wait of 10 is cheaper than a new start, one of 26 is not."""
    stays = long_tail(intervals([(0, 10, 0), (20, 10, 0)]), [5], **CENTS)
    assert (stays.device_us, stays.boots, stays.reused) == (25 + 30, 1, 1)
    swaps = long_tail(intervals([(0, 10, 0), (20, 10, 1)]), [5, 5], **CENTS)
    assert (swaps.device_us, swaps.boots, swaps.reused) == (25 + 30, 1, 1)
    leaves = long_tail(intervals([(0, 10, 0), (36, 10, 0)]), [5], **CENTS)
    assert (leaves.device_us, leaves.boots) == (25 + 10 + 25 + 10, 2)
    late = long_tail(intervals([(0, 10, 0), (12, 10, 1)]), [5, 5], **CENTS)
    assert (late.device_us, late.boots) == (2 * 35, 2)


def test_thousands_of_requests_are_exact():
    """Whole numbers, proven, for a busy pool with hundreds of ways on from each request."""
    rng = np.random.default_rng(5)
    start = np.sort(rng.integers(0, 3 * HOUR, 2_000))
    many = Intervals(
        start_us=start, end_us=start + rng.integers(10**6, 3 * 10**7, 2_000), model=rng.zipf(1.6, 2_000) % 40
    )
    found = long_tail(many, [3_000_000] * 40, boot_us=82_000_000, nanousd_per_hour=10**9)
    assert found.busy_us < found.device_us < found.busy_us + 2_000 * 85_000_000
    assert found.boots + found.reused == 2_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"end_us": np.array([5, 4])}, "request 1 does not end after it begins"),
        ({"model": np.array([0, 2])}, "model 2 has no load time; 2 are given"),
        ({"model": np.array([0])}, "different lengths"),
    ],
)
def test_bad_input_is_named(change: dict, says: str):
    fine = intervals([(0, 1, 0), (5, 2, 1)])
    with pytest.raises(Invalid, match=says):
        long_tail(dataclasses.replace(fine, **change), [5, 5], **CENTS)
    with pytest.raises(Invalid, match="from 0 on"):
        long_tail(fine, [5, -5], **CENTS)
