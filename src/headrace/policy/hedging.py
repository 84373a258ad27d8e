"""When a short call has taken so long that a second replica is asked: longer than nineteen of twenty do. Pure.

Kept by each lane, for models that ask for it (`hedge` in the cloud file). Source: J. Dean and L. A. Barroso, The
Tail at Scale, 2013: hedged requests sent after the expected 95th percentile add some 5 % of load and cut the tail.
"""

from typing import Final

EVIDENCE: Final = 20  # short calls that were seen before any is hedged
WAIT_MIN_US: Final = 2_000  # sooner, the second one would be on its way with nearly every first


class Quick:
    """How long short calls of one lane take: an estimate of their 95th percentile, of one number.

    Formula: q += q/16 when a call took longer than q, else q -= q/304: in balance where one of twenty does.
    Units: microseconds, from the first try to the answer.
    Source: stochastic approximation of a quantile (Robbins and Monro 1951), steps in proportion.
    Assumes: calls come from one slowly changing mix; the first EVIDENCE set where it begins, at their longest.
    """

    __slots__ = ("_count", "_q_us")

    def __init__(self) -> None:
        self._count = 0
        self._q_us = 0.0

    def took(self, us: int) -> None:
        """One more short call was answered."""
        self._count += 1
        if self._count <= EVIDENCE:
            self._q_us = max(self._q_us, us)
        elif us > self._q_us:
            self._q_us += self._q_us / 16
        else:
            self._q_us -= self._q_us / 304

    def after_us(self) -> int:
        """When a second replica is to be asked; 0 while too little is known."""
        return max(WAIT_MIN_US, int(self._q_us)) if self._count >= EVIDENCE else 0
