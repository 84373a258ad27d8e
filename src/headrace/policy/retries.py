"""How many failed requests may be tried again: as many as a dying replica needs, not so many that a fault feeds itself.

Every arrival adds a fifth of a retry, every second one more; each retry takes one. Full, there are as many as slots,
and ten at least: all that was at work on a replica that dies may be tried elsewhere.
Source: retry budgets as in Twitter's Finagle (`RetryBudget`: a share of requests and a floor a second).
"""

from typing import Final

_MILLI_A_REQUEST: Final = 200
_MILLI_A_SECOND: Final = 1_000
_LEAST: Final = 10


class Retries:
    """The budget of one lane."""

    __slots__ = ("_at_us", "_milli")

    def __init__(self, now_us: int) -> None:
        self._milli = 1 << 62  # full, however many slots there will be
        self._at_us = now_us

    def arrived(self) -> None:
        """A request came."""
        self._milli += _MILLI_A_REQUEST

    def take(self, slots: int, now_us: int) -> bool:
        """Whether one more retry is allowed; then it is taken."""
        most = 1_000 * max(_LEAST, 2 * slots)
        self._milli = min(most, self._milli + (now_us - self._at_us) * _MILLI_A_SECOND // 1_000_000)
        self._at_us = now_us
        if self._milli < 1_000:
            return False
        self._milli -= 1_000
        return True
