"""How much work a model is asked for, and how much it will be: the slow brain's memory of one model version.

Work arrives in seconds of one replica a second, so the level is a number of replicas, kept in thousandths. Memory is of
fixed size: ten-second buckets of the last half hour, and a mean day in five-minute bins. Pure; the caller tells the
time: `now_us` never goes back, `wall_us` says what time of day it is.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from headrace.units import US_PER_S

BUCKET_US: Final = 10 * US_PER_S
BUCKETS: Final = 180
LEVEL_BUCKETS: Final = 12  # two minutes
NOISE_BUCKETS: Final = 90  # fifteen minutes
MINUTE: Final = 6  # buckets
BIN_US: Final = 300 * US_PER_S
DAY_US: Final = 86_400 * US_PER_S
BINS: Final = DAY_US // BIN_US
GROWTH_MIN: Final = 0.7
GROWTH_MAX: Final = 2.0
_LEARN: Final = 0.5  # of a day's figure goes into the mean day


@dataclass(frozen=True, slots=True)
class Expectation:
    """Work a second, in replicas: now, at most over the horizon, and how far minutes stray from that."""

    level: float
    peak: float
    sigma: float


class Outlook:
    """The memory of one model version."""

    __slots__ = ("_asked_us", "_bin", "_bin_us", "_bin_work", "_bucket", "_days", "_recent", "_season", "_work")

    def __init__(self) -> None:
        self._asked_us = -1
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
        last = list(recent)[-LEVEL_BUCKETS:]
        level = sum(last) / len(last)
        noise = list(recent)[-NOISE_BUCKETS:]
        minutes = [sum(noise[at : at + MINUTE]) / MINUTE for at in range(len(noise) % MINUTE, len(noise), MINUTE)]
        peak = max(level * self._growth(horizon_us, wall_us), level + self._trend(horizon_us))
        return Expectation(level, peak, _spread(minutes))

    @property
    def told(self) -> bool:
        """Whether any work was ever asked for."""
        return self._asked_us > 0

    def _trend(self, horizon_us: int) -> float:
        """What the last five minutes' slope adds over the horizon; 0 while it falls."""
        recent = list(self._recent)[-30:]
        if len(recent) < 30:
            return 0.0
        slope = (sum(recent[-6:]) / 6 - sum(recent[:24]) / 24) / (15 * BUCKET_US)
        return max(0.0, slope) * horizon_us

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


def _spread(values: list[float]) -> float:
    """How far a value rises above the one before: s^2 = mean(max(0, x_i - x_(i-1))^2); a fall needs no spare room.

    Source: mean square successive difference (von Neumann, Kent, Bellinson, Hart 1941), of which rises are one half.

    >>> round(_spread([1.0, 3.0, 1.0, 3.0, 1.0]), 3), _spread([3.0, 2.0, 1.0])
    (1.414, 0.0)
    """
    rises = [max(0.0, after - before) ** 2 for before, after in pairwise(values)]
    return float((sum(rises) / len(rises)) ** 0.5) if rises else 0.0
