"""How full replicas may be planned, by the promises that answers kept: their first token, and their pace after it.

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
IN_TIME: Final = 0.99  # of first tokens


class _Promise:
    """The answers of one promise, and how many broke it; what is older counts less."""

    __slots__ = ("_all", "_all_seen", "_broken", "_broken_seen")

    def __init__(self) -> None:
        self._all_seen = self._broken_seen = 0
        self._all = self._broken = 0.0

    def new(self, answers: int) -> int:
        """How many are new; less than none where whoever counts began anew."""
        return answers - self._all_seen

    def take(self, answers: int, broken: int, *, tells: bool) -> None:
        """All so far; what is new counts where it tells something."""
        new, missed = answers - self._all_seen, broken - self._broken_seen
        self._all_seen, self._broken_seen = answers, broken
        if new > 0 and tells:
            self._all += new - self._all / LOOKS
            self._broken += missed - self._broken / LOOKS

    def spared(self, promised: float) -> float:
        """What is left of what may be missed, 1 for all of it; below 0 too much is missed, -1 at the least."""
        if not self._all:
            return 1.0
        return max(-1.0, 1 - self._broken / self._all / max(0.01, 1 - promised))


class Pace:
    """Of one model.

    Formula: full += gain s each minute in which s < 0, or s > 0.05 (less that), where s is the least of both promises'
        1 - missed / may be missed, from -1 to 1; a minute's weight falls by 1/60 a minute.
    Units: shares of one; full from 0.7 to 1.2.
    Source: integral control with a dead band, so that steady load moves nothing.
    Assumes: more promises are kept where replicas are less full; a fleet of one tells nothing about that.
    """

    __slots__ = ("_first", "_full", "_looked_us", "_tokens")

    def __init__(self, now_us: int) -> None:
        self._full = FULL
        self._tokens, self._first = _Promise(), _Promise()
        self._looked_us = now_us

    @property
    def full(self) -> float:
        """What a replica is planned with, in steps of a twentieth: less is no reason to start one."""
        return round(self._full * STEPS) / STEPS

    def look(
        self, tokens: tuple[int, int], first: tuple[int, int], promised: float, now_us: int, *, tells: bool
    ) -> None:
        """All answers so far that were promised a pace, a first token, and those of them that came too late.

        `tells` False where they say nothing.
        """
        new = self._tokens.new(tokens[0])
        if 0 <= new < ANSWERS_MIN or (new > 0 and now_us - self._looked_us < LOOK_US):
            return
        self._looked_us = now_us
        self._tokens.take(*tokens, tells=tells)
        self._first.take(*first, tells=tells)
        if new < 0 or not tells:
            return
        spared = min(self._tokens.spared(promised), self._first.spared(IN_TIME))
        if spared < 0 or spared > FAR:
            self._full += GAIN * (spared if spared < 0 else spared - FAR)
            self._full = min(FULL_MAX, max(FULL_MIN, self._full))
