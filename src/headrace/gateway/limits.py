"""What a key may still do this minute, over all gateway workers of this machine; refusals say when to come back.

Tokens are counted at admission by the estimate and corrected when the engine has counted: downwards only within the
minute that the estimate was counted in.
"""

from typing import Final

from headrace.errors import Refused
from headrace.gateway.shared import Counters
from headrace.state.request import BATCH
from headrace.state.table import RouteKey

_CONCURRENCY_RETRY_US: Final = 1_000_000
_URGENT: Final = "urgent"  # requests of other classes than batch, of all keys


class Meter:
    """Admits requests under the limits of their keys."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def admit(self, key: RouteKey, tokens: int, now_us: int, priority: int = 0) -> bytes:
        """Count one request in; the x-ratelimit-* header lines. Raises Refused (429).

        Batch work is told how many requests of other classes are at work in all gateways, so that it can give way.
        """
        limits, name = key.limits, "key:" + key.id
        requests_max, tokens_max = limits.requests_per_minute, limits.tokens_per_minute
        lines = b""
        if requests_max is not None or tokens_max is not None or limits.concurrency is not None:
            in_flight, requests, used, resets_us = self._counters.spent(name, now_us)
            wait_us = resets_us - now_us
            if limits.concurrency is not None and in_flight >= limits.concurrency:
                raise _refused(f"{in_flight} requests at once", limits.concurrency, _CONCURRENCY_RETRY_US)
            if requests_max is not None:
                if requests >= requests_max:
                    raise _refused(f"{requests} requests this minute", requests_max, wait_us)
                lines = _lines(b"requests", requests_max, requests_max - requests - 1, wait_us)
            if tokens_max is not None:
                if used + tokens > tokens_max:
                    if tokens > tokens_max:
                        raise Refused(
                            f"This request may take {tokens} tokens; the key's limit is {tokens_max} a minute. "
                            "Send a shorter prompt or lower max_tokens.",
                            status=429,
                            code="rate_limit_exceeded",
                        )
                    raise _refused(f"{used + tokens} tokens this minute", tokens_max, wait_us)
                lines += _lines(b"tokens", tokens_max, tokens_max - used - tokens, wait_us)
        self._counters.count(name, 1, 1, tokens, now_us)
        if priority == BATCH:
            return lines + b"x-headrace-urgent: %d\r\n" % self._counters.spent(_URGENT, now_us).in_flight
        self._counters.flying(_URGENT, 1)
        return lines

    def done(self, key: RouteKey, correction: int, arrived_us: int, now_us: int, priority: int = 0) -> None:
        """A request has ended; `correction` is what it used less what was estimated."""
        if priority != BATCH:
            self._counters.flying(_URGENT, -1)
        name = "key:" + key.id
        if key.limits.tokens_per_minute is None or (
            # The minute that was charged too much may be over; this one was not charged.
            correction < 0 and arrived_us < self._counters.minute(name, now_us)
        ):
            correction = 0
        self._counters.count(name, -1, 0, correction, now_us)


def _refused(what: str, limit: int, wait_us: int) -> Refused:
    return Refused(
        f"Rate limit reached: {what}, the key's limit is {limit}.",
        status=429,
        code="rate_limit_exceeded",
        retry_after_us=max(1, wait_us),
    )


def _lines(what: bytes, limit: int, remaining: int, wait_us: int) -> bytes:
    seconds = -(-wait_us // 1_000_000)
    reset = b"%ds" % seconds if seconds < 60 else b"%dm%ds" % divmod(seconds, 60)
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n" % (
        what,
        limit,
        what,
        max(0, remaining),
        what,
        reset,
    )
