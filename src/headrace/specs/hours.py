"""Hours of the week with their own numbers of replicas: from the cloud file's words to whole seconds."""

from collections.abc import Callable
from typing import Final
from zoneinfo import available_timezones

from headrace.specs import document as doc
from headrace.specs.catalog import Hours
from headrace.specs.problem import shown

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def hours(given: doc.Hours, path: tuple[str, ...], note: Callable[[tuple[str, ...], str], None]) -> Hours:
    """One window; `note` is told what is wrong with it, and where."""
    if given.zone not in available_timezones():
        note((*path, "zone"), f"is {shown(given.zone)}, which is no zone; write it like Europe/Zurich")
    if given.start == given.end:
        note((*path, "end"), f"is {given.end}, as the start is; give another time")
    if given.min is not None and given.max is not None and given.min > given.max:
        note((*path, "min"), f"is {given.min}, more than max {given.max}; give at most that")
    return Hours(
        days=tuple(DAYS.index(day) for day in given.days or DAYS),
        start_s=_seconds(given.start),
        end_s=_seconds(given.end),
        zone=given.zone,
        min_replicas=given.min,
        max_replicas=given.max,
    )


def _seconds(clock: str) -> int:
    """Seconds of the day of a time like 08:30.

    >>> _seconds("08:30")
    30600
    """
    return int(clock[:2]) * 3600 + int(clock[3:]) * 60
