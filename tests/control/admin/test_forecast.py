"""Where spending goes, as administrators are told: each budget's outlook, its score, or why there is none."""

from pathlib import Path

import pytest

from headrace.economics.budgets import Budget
from headrace.economics.entries import HOUR_US
from tests.control.admin.test_app import Door

DAY_US = 24 * HOUR_US


@pytest.fixture
def door(tmp_path: Path) -> Door:
    found = Door(tmp_path)
    found.clock.us = 20 * DAY_US  # the wall clock says 1970-02-01, some hours after noon
    budgets = [
        Budget(scope=scope, period=period, limit_nanousd=limit)
        for scope, period, limit in (
            ("tenant:team", "month", 28_000),
            ("team:team/a", "day", 500),
            ("key:k", "total", 1),
        )
    ]
    found.store.terms(budgets=budgets)
    found.control.budgets.refresh(found.control.catalog)
    return found


def spend(door: Door, hours: int) -> None:
    """Ten nano-dollars each hour until now, for one key of one team."""
    now_us = door.clock.now_us()
    for ago in range(hours):
        ended_us = now_us - now_us % HOUR_US - ago * HOUR_US - 1
        door.used(f"req_{ago}", "team", key="k", team="a", version="v1", ended_us=ended_us, charge_nanousd=10, busy_us=1,
                  first_us=1, budgets=("tenant:team|month|1970-02",))  # fmt: skip


def test_too_little_history_is_said(door):
    """For the cloud and each budget; there is no number then."""
    spend(door, 5)
    told = door.ask("GET", "cost/forecast").json()
    for one in (told["total"], *told["budgets"]):
        assert one["outlook"] is None
        assert "known for 5 hours, and a forecast needs 48" in one["text"]
        assert "no forecast of a day is scored yet" in one["text"]


def test_each_budget_is_told_its_outlook(door):
    """Ten an hour: the band has no width, and the landing lies where the limit is."""
    spend(door, 100)
    told = door.ask("GET", "cost/forecast").json()
    by = {one["scope"]: one for one in told["budgets"]}
    assert set(by) == {"tenant:team", "team:team/a", "key:k"}
    month = by["tenant:team"]["outlook"]
    assert (month["method"], month["history_hours"]) == ("hour-of-day", 100)
    assert month["low_nanousd"] == month["expected_nanousd"] == month["high_nanousd"]
    assert month["lands_us"] is None
    assert "is not reached by then" in by["tenant:team"]["text"]
    assert by["key:k"]["outlook"]["lands_us"] > door.clock.now_us()
    assert "1970-" in by["key:k"]["text"].split("expected ")[-1]
    assert told["total"]["outlook"]["expected_nanousd"] >= month["expected_nanousd"] - month["spent_nanousd"]
    assert told["band_percent"] == 80


def test_scores_are_shown(door):
    """How yesterday went, and how the days before did."""
    spend(door, 24 * 7)
    door.control.bookkeeper._caught_up_us = door.clock.now_us()
    door.control.forecasts.turn()
    door.clock.us += DAY_US
    spend(door, 24)
    told = door.ask("GET", "cost/forecast").json()
    assert told["total"]["score"] is None
    door.control.forecasts.turn()
    score = door.ask("GET", "cost/forecast").json()["total"]
    assert score["score"]["days"] == 1
    assert score["score"]["yesterday"]["error_ppm"] >= 0
    assert "1 daily forecasts scored: off by" in score["text"]
