"""Forecasts that are kept: one a day, from before its midnight, scored when the day is in the books."""

from pathlib import Path

import pytest

from headrace.control.forecasts import KEPT_DAYS, TOTAL, Forecasts
from headrace.economics.budgets import Budget
from headrace.economics.entries import HOUR_US
from headrace.state.usage import Usage
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import SimClock

DAY_US = 24 * HOUR_US
BUDGETS = [Budget(scope=scope, period="month", limit_nanousd=10**9) for scope in ("key:k", "team:a/t", "key:other")]


class Days:
    """A cloud that spends the same each day, and a clock that says which day it is."""

    def __init__(self, home: Path) -> None:
        self.store, self.clock = SqliteStore(home / "db"), SimClock()
        self.settled_us: int | None = None
        self.forecasts = self.opened()

    def opened(self) -> Forecasts:
        return Forecasts(self.store, lambda: self.settled_us or self.clock.now_us(), self.clock, lambda: BUDGETS)

    def begin(self, day: int, after_us: int = 0) -> None:
        self.clock.us += day * DAY_US + after_us - self.clock.now_us()

    def spend(self, day: int, tenant: str, nanousd: int) -> None:
        rows = [
            Usage(request=f"{tenant}-{day}-{hour}", epoch="e", tenant=tenant, key="k", model="m", version="v1", task="chat",
                  outcome="finished", status=200, arrived_us=1, first_us=1, busy_us=1,
                  team="t", ended_us=day * DAY_US + hour * HOUR_US, charge_nanousd=nanousd)
            for hour in range(24)
        ]  # fmt: skip
        self.store.usage_add(rows, {})


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path)


def test_a_day_s_forecast_is_kept_and_scored_when_the_day_is_over(days):
    """For the cloud and for each tenant; also by a controller that came in between."""
    for day in range(100, 104):
        days.spend(day, "a", 10)
        days.spend(day, "b", 30)
    days.begin(104, HOUR_US)
    days.forecasts.turn()
    assert days.forecasts.scores(TOTAL) is None
    days.spend(104, "a", 10)
    days.spend(104, "b", 40)
    days.begin(105, 60)
    again = days.opened()
    again.turn()
    a, b, total = (again.scores(scope) for scope in ("tenant:a", "tenant:b", TOTAL))
    assert (a.days, a.error_ppm, a.within_band_ppm) == (1, 0, 1_000_000)
    key, team, other = (again.scores(scope) for scope in ("key:k", "team:a/t", "key:other"))
    assert (key.days, key.error_ppm) == (total.days, total.error_ppm)
    assert (team.days, team.error_ppm) == (1, 0)
    assert other is None, "who has spent nothing has no history to forecast from"
    assert (b.error_ppm, b.within_band_ppm) == (250_000, 0)
    assert (total.error_ppm, total.yesterday.error_ppm) == (200_000, 200_000)
    assert again.scores("tenant:nobody") is None


def test_what_happens_after_midnight_does_not_change_a_day_s_forecast(days):
    """Made at noon it is what it would have been at the day's beginning."""
    for day in range(100, 104):
        days.spend(day, "a", 10)
    days.spend(104, "a", 1_000)
    days.begin(104, 12 * HOUR_US)
    days.forecasts.turn()
    days.begin(105, HOUR_US)
    days.forecasts.turn()
    score = days.forecasts.scores(TOTAL)
    assert (score.error_ppm, score.within_band_ppm) == (990_000, 0)


def test_a_day_that_is_not_in_the_books_waits(days):
    """Neither forecast from half of what was spent, nor scored against it."""
    for day in range(100, 105):
        days.spend(day, "a", 10)
    days.begin(104, HOUR_US)
    days.forecasts.turn()
    days.settled_us = 105 * DAY_US - 1
    days.begin(105, HOUR_US)
    days.forecasts.turn()
    assert days.forecasts.scores(TOTAL) is None
    assert list(days.forecasts._days) == [104]
    days.settled_us = None
    days.forecasts.turn()
    assert days.forecasts.scores(TOTAL).days == 1
    assert list(days.forecasts._days) == [104, 105]


def test_what_is_kept_is_bounded_and_written_only_when_it_changes(days, monkeypatch):
    """Sixty days, however long the cloud lives."""
    for day in range(100, 104):
        days.spend(day, "a", 10)
    for day in range(104, 104 + KEPT_DAYS + 5):
        days.begin(day)
        days.forecasts.turn()
        days.spend(day, "a", 10)
    assert len(days.opened()._days) == KEPT_DAYS
    monkeypatch.setattr(days.store, "put", None)
    days.forecasts.turn()


def test_too_little_history_makes_no_forecast(days):
    """Of the tenant that is new; the others have theirs."""
    for day in range(100, 104):
        days.spend(day, "a", 10)
    days.spend(103, "new", 10)
    days.begin(104)
    days.forecasts.turn()
    assert set(days.forecasts._days[104]) == {TOTAL, "tenant:a", "key:k", "team:a/t"}
    assert "too little history" not in str(days.forecasts.total())
