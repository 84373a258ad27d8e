"""How full replicas are planned follows an hour of answers, and stands still where nothing is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.pace import FAR, FULL, FULL_MAX, FULL_MIN, LOOK_US, Pace


def looked(kept: list[float], promised: float = 0.8, tells: bool = True) -> Pace:
    """After a minute's 1,000 answers of each share."""
    pace, paced, slow = Pace(0), 0, 0
    for minute, share in enumerate(kept, 1):
        paced, slow = paced + 1000, slow + round(1000 * (1 - share))
        pace.look(paced, slow, promised, minute * LOOK_US, tells=tells)
    return pace


def test_a_promise_that_is_kept_moves_nothing():
    assert looked([0.8] * 500).full == looked([0.81] * 500).full == FULL


def test_a_burst_among_good_minutes_is_no_broken_promise():
    """One minute of ten with a fifth on time, the others whole: 92 % in all."""
    assert looked(([1.0] * 9 + [0.2]) * 30, promised=0.92).full == pytest.approx(FULL, abs=0.01)


def test_too_few_take_and_far_more_give():
    assert looked([0.5] * 120).full < 0.95
    assert looked([1.0] * 240, promised=0.5).full == FULL_MAX
    assert looked([0.5] * 120, tells=False).full == FULL


@given(st.lists(st.floats(0, 1), max_size=300), st.floats(0.01, 0.99))
def test_it_stays_within_its_bounds_and_counts_may_begin_anew(kept, promised):
    pace = looked(kept, promised)
    assert FULL_MIN <= pace.full <= FULL_MAX
    before = pace.full
    pace.look(60, 60, promised, 10**12, tells=True)  # a gateway started afresh: fewer answers than before
    assert pace.full == before or not kept
    if kept and min(kept) > promised + FAR * (1 - promised):
        assert pace.full >= FULL
