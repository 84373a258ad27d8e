"""How long an engine may be silent, and a request at work; microseconds."""

from typing import Final

from headrace.gateway.record import Record

FIRST_EVENT_US: Final = 120_000_000
BETWEEN_US: Final = 20_000_000
TOTAL_US: Final = 600_000_000


def at_end(record: Record, heard_us: int, now_us: int) -> bool:
    """Whether a request has waited for its engine as long as it may."""
    streaming = record.call.stream and not record.call.buffered
    limit_us = (BETWEEN_US if record.first_us else FIRST_EVENT_US) if streaming else TOTAL_US
    return now_us - heard_us > limit_us or now_us - record.sent_us > TOTAL_US
