"""Forecasts: what repeats is forecast exactly, the band holds what is expected, and too little history is said."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.economics.forecast import DAY_US, HOUR_US, Model, score, shortage

MONDAY = 19_723 * DAY_US  # 2024-01-01
series = st.lists(st.integers(0, 10**12), min_size=49, max_size=600).map(lambda hours: [1, *hours])


@settings(max_examples=150, deadline=None)
@given(series, st.integers(0, 10**13), st.integers(0, 40 * DAY_US), st.integers(0, 10**15))
def test_the_band_holds_what_is_expected_and_landings_are_in_order(hours, spent: int, left_us: int, limit: int):
    """Whatever was spent; and never less than that."""
    model = Model(hours, MONDAY)
    now_us = MONDAY + 12_345
    seen = model.outlook(spent, now_us, now_us + left_us, limit)
    assert spent <= seen.low_nanousd <= seen.expected_nanousd <= seen.high_nanousd
    assert seen.expected_nanousd - spent == model.expected(now_us, now_us + left_us)
    lands = [seen.lands_earliest_us, seen.lands_us, seen.lands_latest_us]
    known = [at for at in lands if at is not None]
    assert known == sorted(known)
    assert lands == [*known, *[None] * (3 - len(known))]
    assert all(now_us <= at <= now_us + left_us for at in known)
    for at, end in zip(lands, (seen.high_nanousd, seen.expected_nanousd), strict=False):
        assert (at is not None) == (end >= limit or spent >= limit)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=168, max_size=168), st.integers(2, 6), st.integers(0, 167))
def test_a_perfectly_weekly_series_is_forecast_exactly(week: list[int], weeks: int, shift: int):
    """From the second week on, to the nano-dollar, with a band of no width."""
    hours = (week * (weeks + 1))[shift : shift + 168 * weeks]
    end_us = MONDAY + shift * HOUR_US
    coming = (week * 2)[shift : shift + 100]
    model = Model(hours, end_us)
    assert model.method == "hour-of-week"
    seen = model.outlook(5, end_us, end_us + 100 * HOUR_US)
    assert (seen.low_nanousd, seen.expected_nanousd, seen.high_nanousd) == (5 + sum(coming),) * 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=24, max_size=24), st.integers(3, 13))
def test_a_perfectly_daily_series_is_forecast_exactly(day: list[int], days: int):
    """From the third day on."""
    model = Model(day * days, MONDAY)
    assert model.method == "hour-of-day"
    assert model.expected(MONDAY, MONDAY + 31 * DAY_US) == 31 * sum(day)
    assert (model.low, model.high) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(series, st.lists(st.integers(0, 30 * DAY_US), min_size=3, max_size=3))
def test_parts_of_a_time_add_up(hours: list[int], moments: list[int]):
    """Except for what cutting an hour rounds."""
    model = Model(hours, MONDAY)
    a, b, c = (MONDAY + at for at in sorted(moments))
    assert 0 <= model.expected(a, c) - model.expected(a, b) - model.expected(b, c) <= 1


def test_the_band_is_of_what_other_days_missed():
    """Ten quiet days and a wild one: nine tenths of the days stay below the band's upper end."""
    days = [100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 300]
    hours = [day * 10**9 // 24 for day in days for _ in range(24)]
    model = Model(hours, MONDAY)
    assert model.method == "hour-of-day"
    inside = sum(model.low <= (day * 10**9 - 118 * 10**9) <= model.high for day in days)
    assert inside / len(days) >= 0.8


def test_the_band_grows_with_the_root_of_the_time():
    """Four days are twice as unsure as one."""
    hours = [value for day in range(9) for value in [(100 + day % 3) * 10**6] * 24]
    model = Model(hours, MONDAY)
    one, four = (model.outlook(0, MONDAY, MONDAY + days * DAY_US) for days in (1, 4))
    assert four.high_nanousd - four.expected_nanousd == 2 * (one.high_nanousd - one.expected_nanousd) > 0


def test_a_limit_that_is_reached_already_lands_now_and_one_far_away_never():
    """The landing lies within the hour that reaches it."""
    model = Model([24] * 72, MONDAY)
    assert model.outlook(10, MONDAY, MONDAY + DAY_US, 10).lands_latest_us == MONDAY
    assert model.outlook(0, MONDAY, MONDAY + DAY_US, 24 * 24 + 1).lands_us is None
    half = model.outlook(0, MONDAY, MONDAY + DAY_US, 24 * 3 + 12).lands_us
    assert half == MONDAY + 3 * HOUR_US + HOUR_US // 2


def test_what_lies_before_the_first_spend_is_no_history():
    """A new cloud is not taken for one that was idle."""
    hours = [0] * 500 + [7] * 48
    assert Model(hours, MONDAY).expected(MONDAY, MONDAY + DAY_US) == 7 * 24
    assert Model(hours, MONDAY).method == "mean"


@pytest.mark.parametrize(("hours", "known"), [([], 0), ([0] * 100, 0), ([0] * 100 + [1] * 47, 47)])
def test_too_little_history_is_said(hours: list[int], known: int):
    """With what is known and what is needed."""
    assert f"known for {known} hours" in shortage(hours)
    assert shortage([1] * 48) == ""


def test_scores():
    """A day without spend has no relative error, unless none was expected."""
    assert score(150, 100, 140, 100).error_ppm == 500_000
    assert score(150, 101, 140, 100).within_band is False
    assert (score(5, 0, 9, 0).error_ppm, score(0, 0, 0, 0).error_ppm) == (-1, 0)
