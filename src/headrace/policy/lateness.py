"""How much room is kept free beyond what was foretold, by how many first tokens come late: an error budget.

While more was late than may be, more is kept free, and what may be late and is not makes up for it: a debt is paid off
in hours. Nothing is saved ahead: after a calm week a burst is met as after a calm minute.
"""

from typing import Final

from headrace.units import US_PER_S

SIGMAS: Final = 1.0  # of what was asked for beyond what was foretold, that are kept free while nothing is owed
SIGMAS_MAX: Final = 3.0
EACH: Final = 0.25  # more for every hour's allowance that is owed
LOOK_US: Final = 60 * US_PER_S
LOOKS: Final = 60  # after which what was seen counts a third
STEPS: Final = 4  # of a sigma: less is no reason to start anything


class Lateness:
    """Of one model.

    Formula: sigmas = 1 + owed / 4, at most 3; owed += (late - may) / (may of an hour) each minute, at least 0, where
        may = (1 - promised) answers.
    Units: owed in hours' allowances; promised is a share of one.
    Source: error budgets (Beyer et al., Site Reliability Engineering, 2016, chapter 3), here in an integral controller.
    Assumes: more room makes fewer late; a fleet of one tells nothing about that.
    """

    __slots__ = ("_answers", "_begun", "_late", "_looked_us", "_looks", "_owed")

    def __init__(self, now_us: int) -> None:
        self._begun = self._late = 0
        self._answers = self._looks = 0.0  # of the last hour or so
        self._owed = 0.0
        self._looked_us = now_us

    @property
    def sigmas(self) -> float:
        """How much is kept free, in quarters."""
        return SIGMAS + round(self._owed * EACH * STEPS) / STEPS

    def look(self, begun: int, late: int, promised: float, now_us: int, *, tells: bool) -> None:
        """All first tokens so far and those of them that were late; `tells` False where they say nothing."""
        if begun >= self._begun and now_us - self._looked_us < LOOK_US:
            return
        answers, missed = begun - self._begun, late - self._late
        self._begun, self._late, self._looked_us = begun, late, now_us
        if answers < 0 or not tells:  # whoever counts began anew
            return
        self._answers += answers - self._answers / LOOKS
        self._looks += 1 - self._looks / LOOKS
        may = max(0.01, 1 - promised)
        hourly = may * max(self._answers / self._looks * LOOKS, 1.0)
        self._owed = min(max(0.0, self._owed + (missed - may * answers) / hourly), (SIGMAS_MAX - SIGMAS) / EACH)
