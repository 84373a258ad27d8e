"""Hours of the week: by the clock on the wall, across midnight and changes of the clock, ahead of their beginning."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from headrace.policy import schedule
from headrace.specs.catalog import Hours, Scaling
from tests.policy.cloud import S, catalog, spec

ZURICH = "Europe/Zurich"
WORK = Hours(days=(0, 1, 2, 3, 4), start_s=8 * 3600, end_s=18 * 3600, zone=ZURICH, min_replicas=3, max_replicas=6)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZURICH)).timestamp()) * S


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-03-27 08:00", True),  # Friday, winter time
        ("2026-03-27 07:59", False),
        ("2026-03-30 08:00", True),  # Monday, summer time: eight is eight
        ("2026-03-30 07:59", False),
        ("2026-03-28 12:00", False),  # Saturday
        ("2026-03-30 18:00", False),
    ],
)
def test_eight_stays_eight_when_clocks_change(moment: str, inside: bool) -> None:
    assert schedule.within(WORK, at(moment)) is inside


def test_a_night_is_of_its_first_day() -> None:
    night = Hours(days=(4,), start_s=22 * 3600, end_s=6 * 3600, zone=ZURICH, min_replicas=1)
    found = [schedule.within(night, at(f"2026-11-{day} {clock}")) for day, clock in
             ((20, "23:00"), (21, "05:00"), (21, "06:00"), (21, "23:00"), (20, "05:00"))]  # fmt: skip
    assert found == [True, True, False, False, False]


def test_replicas_are_asked_for_before_they_are_needed_and_the_most_holds_only_then() -> None:
    model = spec(scaling=Scaling(min_replicas=0, max_replicas=2, schedule=(WORK,)))
    before = at("2026-11-23 07:59") + 30 * S
    assert schedule.limits(model.scaling, 10 * S, before) == (0, 2)
    assert schedule.limits(model.scaling, 60 * S, before) == (3, 3)
    assert schedule.limits(model.scaling, 60 * S, before + 60 * S) == (3, 6)
    assert schedule.limits(model.scaling, 60 * S, at("2026-11-23 19:00")) == (0, 2)


def test_a_catalog_without_schedules_is_left_as_it_is() -> None:
    plain = catalog(spec())
    assert schedule.over(plain, {}, 0) is plain
    scheduled = catalog(spec(scaling=Scaling(schedule=(WORK,))))
    found = schedule.over(scheduled, {}, at("2026-11-23 12:00")).models[0].scaling
    assert (found.min_replicas, found.max_replicas) == (3, 6)
