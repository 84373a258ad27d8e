"""How much work a model is asked for, and how much it will be: the slow brain's memory of one model version.

Work arrives in seconds of one replica a second, so the level is a number of replicas, kept in thousandths. Memory is of
fixed size: ten-second buckets of the last half hour, and a mean day in five-minute bins. Pure; the caller tells the
time: `now_us` never goes back, `wall_us` says what time of day it is.
"""

from collections import deque
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from headrace.units import US_PER_S

BUCKET_US: Final = 10 * US_PER_S
BUCKETS: Final = 180
LEVEL_BUCKETS: Final = 6  # a minute
LATER_BUCKETS: Final = 3  # half a minute, which replicas' slots and a first token's patience bridge
ERRORS: Final = 90  # of a quarter of an hour
BIN_US: Final = 300 * US_PER_S
DAY_US: Final = 86_400 * US_PER_S
BINS: Final = DAY_US // BIN_US
GROWTH_MIN: Final = 0.7
GROWTH_MAX: Final = 2.0
_LEARN: Final = 0.5  # of a day's figure goes into the mean day


@dataclass(frozen=True, slots=True)
class Expectation:
    """Work a second, in replicas: now, at most over the horizon, and how far beyond `level` it came a horizon later."""

    level: float
    peak: float
    sigma: float


class Outlook:
    """The memory of one model version."""

    __slots__ = (
        "_asked_us",
        "_bin",
        "_bin_us",
        "_bin_work",
        "_bucket",
        "_days",
        "_heard",
        "_recent",
        "_season",
        "_work",
    )

    def __init__(self) -> None:
        self._asked_us = -1
        self._heard = False
        self._bucket = -1
        self._work = 0.0
        self._recent: deque[float] = deque(maxlen=BUCKETS)
        self._season: list[float] = [-1.0] * BINS
        self._bin = -1
        self._bin_work = 0.0
        self._bin_us = 0
        self._days = 0

    def note(self, asked_us: int, now_us: int, wall_us: int) -> None:
        """All work that was asked for up to now, microseconds of one replica; a smaller figure begins anew."""
        new_us = max(0, asked_us - self._asked_us) if self._asked_us >= 0 else 0
        self._asked_us = asked_us
        self._heard = self._heard or asked_us > 0
        bucket = now_us // BUCKET_US
        if self._bucket < 0:
            self._bucket = bucket
        while self._bucket < bucket:
            self._recent.append(self._work / BUCKET_US)
            self._season_takes(self._work, wall_us - (bucket - self._bucket) * BUCKET_US)
            self._work = 0.0
            self._bucket += 1
            if bucket - self._bucket > BUCKETS:  # nothing was heard for so long: it was nothing, and is not told apart
                self._bucket = bucket - BUCKETS
        self._work += new_us

    def expect(self, horizon_us: int, wall_us: int) -> Expectation:
        """What to expect over the horizon."""
        recent = self._recent
        if not recent:
            return Expectation(0.0, 0.0, 0.0)
        work = list(recent)
        level = sum(work[-LEVEL_BUCKETS:]) / len(work[-LEVEL_BUCKETS:])
        peak = level * max(1.0, self._growth(horizon_us, wall_us))
        return Expectation(level, peak, _error(work, -(-horizon_us // BUCKET_US)))

    def part(self, share: float) -> "Outlook":
        """The memory of a part of the requests that had such a share of the work, to be told of that from now on."""
        made = Outlook()
        made._bucket, made._bin, made._bin_us, made._days = self._bucket, self._bin, self._bin_us, self._days
        made._heard = self._heard
        made._asked_us, made._work, made._bin_work = -1, share * self._work, share * self._bin_work
        made._recent.extend(share * work for work in self._recent)
        made._season = [share * level if level > 0 else level for level in self._season]
        return made

    @property
    def told(self) -> bool:
        """Whether any work was ever asked for."""
        return self._heard

    def _growth(self, horizon_us: int, wall_us: int) -> float:
        """What the mean day grows by from now to its highest over the horizon; 1 while no day is known."""
        at = wall_us % DAY_US // BIN_US
        now = self._season[at]
        if now <= 0:
            return 1.0
        ahead = -(-horizon_us // BIN_US) + 1
        most = max(self._season[(at + step) % BINS] for step in range(ahead + 1))
        return min(GROWTH_MAX, max(GROWTH_MIN, most / now))

    def _season_takes(self, work: float, wall_us: int) -> None:
        place = wall_us % DAY_US // BIN_US
        if place != self._bin:
            if self._bin >= 0 and self._bin_us:
                level = self._bin_work / self._bin_us
                known = self._season[self._bin]
                self._season[self._bin] = level if known < 0 else known + (level - known) * _LEARN
            self._bin, self._bin_work, self._bin_us = place, 0.0, 0
        self._bin_work += work
        self._bin_us += BUCKET_US


def _error(work: list[float], ahead: int) -> float:
    """How far what was asked for came to lie above the level that was known `ahead` buckets before: s^2 = mean
    max(0, x - level)^2 over the last quarter of an hour, x being half a minute's mean; a fall needs no spare room.

    So noise, steps and slopes count by what they did to a start that was decided on then. Where less was seen than
    that takes, it looks as far ahead as it can.
    Source: root mean square error of a forecast, of its upper side.

    >>> round(_error([1.0] * 20 + [3.0] * 20, 10), 2), _error([3.0] * 20 + [1.0] * 20, 10)
    (1.45, 0.0)
    """
    span = LEVEL_BUCKETS + LATER_BUCKETS
    ahead = min(ahead + LATER_BUCKETS - 1, len(work) - span)
    if ahead < LATER_BUCKETS:
        return 0.0
    sums = [0.0, *accumulate(work)]
    ends = range(max(LEVEL_BUCKETS + ahead, len(work) - ERRORS + 1), len(work) + 1)
    squares = 0.0
    for end in ends:
        level = (sums[end - ahead] - sums[end - ahead - LEVEL_BUCKETS]) / LEVEL_BUCKETS
        above = (sums[end] - sums[end - LATER_BUCKETS]) / LATER_BUCKETS - level
        if above > 0:
            squares += above * above
    return float((squares / len(ends)) ** 0.5)
