"""How long a replica that is not needed any more is kept, by how soon as many were needed again until now.

What `keepalive` asks of a model's last replica is asked here of each one beyond it: a start wastes its own time and
lets somebody wait, keeping wastes what is kept. Where needs come and go within minutes it pays to stay, where they
follow the day it does not.
"""

import math
from typing import Final

from headrace.policy.keepalive import choose
from headrace.state.gaps import Gaps
from headrace.units import US_PER_HOUR, US_PER_S

LOOK_US: Final = 60 * US_PER_S
CALM_US: Final = 60 * US_PER_S  # for which a replica must have been too many, whatever it costs
KEPT_MAX_US: Final = 900 * US_PER_S  # beyond it the day decides
DEAR: Final = 2  # starts more that one is worth for every hour's allowance of late first tokens that is owed
STEPS: Final = 4  # of that hour


class Levels:
    """The numbers of replicas that one model needed, each a level; since when those above today's were not needed.

    Formula: kept for T, the cheapest of min over T of E[min(g, T)] + W P(g > T), with W = (1 + 2 owed) start.
    Units: microseconds of one replica; g between needing so many for the last time and again; owed in hours' allowances
        of late first tokens (`lateness`).
    Source: `keepalive.choose`; what is owed stands for the price of being late, as a multiplier of the promise.
    Assumes: each level comes back as others did; until eight have, T = W, the break-even. Gaps below a minute are none.
        Longer than a quarter of an hour nobody stays.
    """

    __slots__ = ("_fell_us", "_gaps", "_kept_us", "_looked_us", "_top")

    def __init__(self) -> None:
        self._top = 0
        self._fell_us: dict[int, int] = {}
        self._gaps = Gaps()
        self._kept_us = 0
        self._looked_us = -LOOK_US

    def take(self, need: float, slack: float, now_us: int) -> None:
        """What is needed now; `slack` is what it must be beyond a whole number to need one more, half of it to stay."""
        up, down = math.ceil(need - slack), math.ceil(need + slack / 2)
        for level in range(self._top + 1, up + 1):
            fell_us = self._fell_us.pop(level, None)
            if fell_us is not None and now_us - fell_us > CALM_US:
                self._gaps = self._gaps.seen(now_us - fell_us)
        for level in range(down + 1, self._top + 1):
            self._fell_us[level] = now_us
        self._top = max(up, min(down, self._top))

    def kept_us(self, start_us: int, owed: float, now_us: int) -> int:
        """How long one that is not needed stays; looked at once a minute."""
        if now_us - self._looked_us >= LOOK_US:
            self._looked_us = now_us
            wake_us = round(start_us * (1 + DEAR * round(owed * STEPS) / STEPS))
            found = choose(self._gaps, US_PER_HOUR, wake_us, start_us, ahead=False)
            self._kept_us = min(found.until_us, KEPT_MAX_US)
        return self._kept_us
