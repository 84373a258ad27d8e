"""By how many first tokens come late: an error budget, and how much of it is overdrawn.

While more is late than may be, a debt grows; what may be late and is not pays it off, in hours. Nothing is saved ahead:
after a calm week a burst is met as after a calm minute.
"""

from typing import Final

from headrace.units import US_PER_S

OWED_MAX: Final = 8.0
LOOK_US: Final = 60 * US_PER_S
LOOKS: Final = 60  # after which what was seen counts a third


class Lateness:
    """Of one model. `owed` is its debt in hours' allowances.

    Formula: owed += (late - may) / (may of an hour) each minute, from 0 to 8, where may = (1 - promised) answers.
    Units: promised is a share of one.
    Source: error budgets (Beyer et al., Site Reliability Engineering, 2016, chapter 3), here in an integral controller.
    Assumes: who could not have been in time on any replica is not counted as late.
    """

    __slots__ = ("_answers", "_begun", "_late", "_looked_us", "_looks", "owed")

    def __init__(self, now_us: int) -> None:
        self._begun = self._late = 0
        self._answers = self._looks = 0.0  # of the last hour or so
        self._looked_us = now_us
        self.owed = 0.0

    def look(self, begun: int, late: int, promised: float, now_us: int) -> None:
        """All first tokens so far and those of them that were late."""
        if begun >= self._begun and now_us - self._looked_us < LOOK_US:
            return
        answers, missed = begun - self._begun, late - self._late
        self._begun, self._late, self._looked_us = begun, late, now_us
        if answers < 0:  # whoever counts began anew
            return
        self._answers += answers - self._answers / LOOKS
        self._looks += 1 - self._looks / LOOKS
        may = max(0.01, 1 - promised)
        hourly = may * max(self._answers / self._looks * LOOKS, 1.0)
        self.owed = min(max(0.0, self.owed + (missed - may * answers) / hourly), OWED_MAX)
