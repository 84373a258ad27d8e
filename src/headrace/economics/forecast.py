"""What will be spent by the end of a period, how sure that is, and when a limit will be reached.

The series is hourly spend, oldest first, whole hours only; hours without spend are 0, and what lies before the first
hour with spend is not history.

Formula:  expected(h) = the mean of the history's hours of h's season: the hour of the week from 14 days of history on,
          the hour of the day from 3 days on, else all hours. A part of an hour takes its part of the mean.
          band = spent + rest + q sqrt(D), D days left, q the 10th and the 90th percentile of the residuals of whole
          days, taken at the ranks floor((n + 1) / 10) and n + 1 minus that. A day's residual is what it came to minus
          what the mean of the other days of its season said (leave one out), so that a day does not predict itself.
          The band always holds what is expected, and never less than is spent already.
Units:    nano-dollars, microseconds; all integers.
Source:   seasonal means: Hyndman & Athanasopoulos, Forecasting, 3rd ed., 5.2; leave-one-out residuals and their ranks:
          Barber, Candes, Ramdas, Tibshirani, Predictive inference with the jackknife+, Annals of Statistics 49 (2021).
Assumes:  the future is like the past and has no trend; residuals of different days are independent (hence the root),
          so that a band over many days is too narrow where good and bad days come in rows. The scores tell.
Example:  three days of 24 dollars each, half of today over, 12 spent: 24 expected, between 24 and 24.
"""

import datetime
from collections.abc import Iterator, Sequence
from math import isqrt
from typing import Final, Literal

import msgspec

from headrace.economics.budgets import Period
from headrace.economics.entries import HOUR_US

DAY_HOURS: Final = 24
WEEK_HOURS: Final = 168
DAY_US: Final = DAY_HOURS * HOUR_US
HOURS_MIN: Final = 2 * DAY_HOURS
WEEKLY_HOURS_MIN: Final = 14 * DAY_HOURS
DAILY_HOURS_MIN: Final = 3 * DAY_HOURS
BAND_PERCENT: Final = 80
ENDLESS_US: Final = 90 * DAY_US  # how far a budget without an end is looked ahead
_PPM: Final = 1_000_000
Method = Literal["hour-of-week", "hour-of-day", "mean"]


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a period will have come to at its end. Landing moments are None when the limit is not reached in it."""

    spent_nanousd: int
    expected_nanousd: int
    low_nanousd: int
    high_nanousd: int
    until_us: int
    method: Method
    history_hours: int
    lands_earliest_us: int | None = None
    lands_us: int | None = None
    lands_latest_us: int | None = None


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How a forecast did. The error is |expected - actual| / actual, -1 when nothing was spent; parts of a million."""

    error_ppm: int
    within_band: bool


def shortage(hours: Sequence[int]) -> str:
    """Why there is no forecast; empty when there is one.

    >>> shortage([0, 5, 0])
    'too little history: spend is known for 2 hours, and a forecast needs 48'
    """
    known = len(_history(hours))
    if known >= HOURS_MIN:
        return ""
    return f"too little history: spend is known for {known} hours, and a forecast needs {HOURS_MIN}"


class Model:
    """Seasonal means of a history and the residuals of its days. Needs HOURS_MIN hours; see `shortage`."""

    def __init__(self, hours: Sequence[int], end_us: int) -> None:
        """`end_us` is when the last hour of the series ended: a whole hour."""
        assert end_us % HOUR_US == 0, "the series is of whole hours"
        self._hours = _history(hours)
        assert len(self._hours) >= HOURS_MIN, shortage(hours)
        self._first = end_us // HOUR_US - len(self._hours)  # hours since 1970, which began at midnight
        self.method: Method
        self.method, self._season = _season(len(self._hours))
        self._sums, self._counts = [0] * self._season, [0] * self._season
        for place, amount in enumerate(self._hours, self._first):
            self._sums[place % self._season] += amount
            self._counts[place % self._season] += 1
        self.low, self.high = _band(self._residuals())

    def _residuals(self) -> list[int]:
        """Of each whole day, counted back from the end, by means without that day."""
        found = []
        for end in range(len(self._hours), DAY_HOURS - 1, -DAY_HOURS):
            day = range(end - DAY_HOURS, end)
            found.append(sum(self._hours[at] for at in day) - self._others(day))
        return found

    def _others(self, day: range) -> int:
        """What the means of all other days say of a day."""
        own, own_count = dict.fromkeys(range(self._season), 0), dict.fromkeys(range(self._season), 0)
        places = [(at + self._first) % self._season for at in day]
        for at, place in zip(day, places, strict=True):
            own[place] += self._hours[at]
            own_count[place] += 1
        return sum(
            _rounded(self._sums[place] - own[place], max(1, self._counts[place] - own_count[place])) for place in places
        )

    def expected(self, from_us: int, to_us: int) -> int:
        """What will be spent between two moments."""
        return sum(amount for _, _, amount in self._steps(from_us, to_us))

    def _steps(self, from_us: int, to_us: int) -> Iterator[tuple[int, int, int]]:
        """Hours and parts of hours: from, to, what is expected in it."""
        at_us = from_us
        while at_us < to_us:
            end_us = min(to_us, (at_us // HOUR_US + 1) * HOUR_US)
            place = at_us // HOUR_US % self._season
            mean = _rounded(self._sums[place], self._counts[place])
            yield at_us, end_us, mean * (end_us - at_us) // HOUR_US
            at_us = end_us

    def outlook(self, spent: int, now_us: int, until_us: int, limit: int | None = None) -> Outlook:
        """The rest of a period in which `spent` was spent by now.

        >>> dollar = 10**9
        >>> model = Model([dollar] * 72, end_us=30 * DAY_US)
        >>> seen = model.outlook(12 * dollar, 30 * DAY_US + DAY_US // 2, 31 * DAY_US, limit=18 * dollar)
        >>> seen.low_nanousd // dollar, seen.expected_nanousd // dollar, seen.high_nanousd // dollar
        (24, 24, 24)
        >>> (seen.lands_us - 30 * DAY_US) // HOUR_US
        18
        """
        rest = self.expected(now_us, until_us)
        expected = spent + rest
        left_us = max(0, until_us - now_us)
        lands: list[int | None] = [None, None, None]
        if limit is not None:
            lands = [self._lands(limit - spent, now_us, until_us, spread) for spread in (self.high, 0, self.low)]
        return Outlook(
            spent_nanousd=spent,
            expected_nanousd=expected,
            low_nanousd=max(spent, expected + _spread(self.low, left_us)),
            high_nanousd=expected + _spread(self.high, left_us),
            until_us=until_us,
            method=self.method,
            history_hours=len(self._hours),
            lands_earliest_us=lands[0],
            lands_us=lands[1],
            lands_latest_us=lands[2],
        )

    def _lands(self, left: int, now_us: int, until_us: int, spread: int) -> int | None:
        """When so much more will be spent, on the path that one day's `spread` leads to; None if not by the end."""
        if left <= 0:
            return now_us
        reached = total = 0
        for from_us, to_us, amount in self._steps(now_us, until_us):
            total += amount
            after = max(reached, total + _spread(spread, to_us - now_us))
            if after >= left:
                return from_us + (to_us - from_us) * (left - reached) // (after - reached)
            reached = after
        return None


def score(expected: int, low: int, high: int, actual: int) -> Score:
    """Yesterday's forecast against what happened.

    >>> score(90, 80, 100, 100)
    Score(error_ppm=100000, within_band=True)
    """
    error = abs(expected - actual) * _PPM // actual if actual else (0 if not expected else -1)
    return Score(error_ppm=error, within_band=low <= actual <= high)


def period_us(period: Period, now_us: int) -> tuple[int, int]:
    """The period that a moment lies in: from, to. A total has no end, so the next 90 days are looked at.

    >>> [at // DAY_US for at in period_us("month", 19_723 * DAY_US + 5)]
    [19723, 19754]
    """
    if period == "total":
        return 0, now_us + ENDLESS_US
    day_us = now_us // DAY_US * DAY_US
    if period == "day":
        return day_us, day_us + DAY_US
    day = datetime.datetime.fromtimestamp(day_us // 1_000_000, datetime.UTC).replace(day=1)
    after = (day + datetime.timedelta(days=32)).replace(day=1)
    return int(day.timestamp()) * 1_000_000, int(after.timestamp()) * 1_000_000


def _history(hours: Sequence[int]) -> Sequence[int]:
    first = next((place for place, amount in enumerate(hours) if amount), len(hours))
    return hours[first:]


def _season(hours: int) -> tuple[Method, int]:
    if hours >= WEEKLY_HOURS_MIN:
        return "hour-of-week", WEEK_HOURS
    return ("hour-of-day", DAY_HOURS) if hours >= DAILY_HOURS_MIN else ("mean", 1)


def _band(residuals: Sequence[int]) -> tuple[int, int]:
    """What a day may fall below and rise above: never above 0 and never below it."""
    order = sorted(residuals)
    rank = max(1, (len(order) + 1) // 10)
    return min(0, order[rank - 1]), max(0, order[len(order) - rank])


def _spread(day: int, time_us: int) -> int:
    """A day's deviation, over so much time: it grows with the root..

    >>> _spread(10, DAY_US), _spread(10, 4 * DAY_US), _spread(-10, DAY_US)
    (10, 20, -10)
    """
    return (1 if day >= 0 else -1) * (abs(day) * isqrt(time_us * DAY_US) // DAY_US)


def _rounded(total: int, count: int) -> int:
    return (2 * total + count) // (2 * count)
