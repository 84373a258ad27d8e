"""How full replicas may be planned, by how many answers keep their pace: the promise of time per output token.

A replica at its best batch keeps the pace on average; bursts, long prompts and luck decide for how many answers. So
what is planned with follows from what was seen, slowly: an hour of answers, a look a minute.
"""

from typing import Final

from headrace.units import US_PER_S

FULL: Final = 1.0  # of a replica at its best batch, at first; slots beyond that batch take bursts
FULL_MIN: Final = 0.7
FULL_MAX: Final = 1.2
LOOK_US: Final = 60 * US_PER_S
ANSWERS_MIN: Final = 50  # a look needs as many
LOOKS: Final = 60  # after which what was seen counts a third
GAIN: Final = 0.001  # a look, where all that may be missed again is missed, or nothing is
STEPS: Final = 20
FAR: Final = 0.05  # of what may be missed must be left: a whole replica more or less moves about so much


class Pace:
    """Of one model.

    Formula: full += gain s each minute in which s < 0, or s > 0.05 (less that), where s is 1 - missed / may be missed,
        from -1 to 1; a minute's weight falls by 1/60 a minute.
    Units: shares of one; full from 0.7 to 1.2.
    Source: integral control with a dead band, so that steady load moves nothing. Late first tokens have no say: they
        come of bursts that are over before it acts, and what it then holds free for an hour helps nobody.
    Assumes: fewer answers keep their pace where replicas are fuller; a fleet of one tells nothing about that.
    """

    __slots__ = ("_answers", "_full", "_late", "_looked_us", "_paced", "_slow")

    def __init__(self, now_us: int) -> None:
        self._full = FULL
        self._paced = self._slow = 0
        self._answers = self._late = 0.0
        self._looked_us = now_us

    @property
    def full(self) -> float:
        """What a replica is planned with, in steps of a twentieth: less is no reason to start one."""
        return round(self._full * STEPS) / STEPS

    def look(self, paced: int, slow: int, promised: float, now_us: int, *, tells: bool) -> None:
        """All answers so far and those of them that were too slow; `tells` False where they say nothing."""
        answers, late = paced - self._paced, slow - self._slow
        if 0 <= answers < ANSWERS_MIN or (answers > 0 and now_us - self._looked_us < LOOK_US):
            return
        self._paced, self._slow, self._looked_us = paced, slow, now_us
        if answers < 0 or not tells:  # whoever counts began anew
            return
        self._answers += answers - self._answers / LOOKS
        self._late += late - self._late / LOOKS
        spared = max(-1.0, 1 - self._late / self._answers / max(0.01, 1 - promised))
        if spared < 0 or spared > FAR:
            self._full += GAIN * (spared if spared < 0 else spared - FAR)
            self._full = min(FULL_MAX, max(FULL_MIN, self._full))
