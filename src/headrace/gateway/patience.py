"""How long an engine may be silent, and a request at work; microseconds."""

from typing import Final

from headrace.gateway.record import Record

FIRST_EVENT_US: Final = 60_000_000
PROMPT_TOKEN_US: Final = 10_000  # more for each token of the prompt, at most: a CPU reads 100 a second, a GPU thousands
BETWEEN_US: Final = 20_000_000
TOTAL_US: Final = 600_000_000


def at_end(record: Record, heard_us: int, now_us: int) -> bool:
    """Whether a request has waited for its engine as long as it may."""
    limit_us = TOTAL_US
    if record.call.stream and not record.call.buffered:
        first_us = FIRST_EVENT_US + PROMPT_TOKEN_US * record.call.input_tokens
        limit_us = BETWEEN_US if record.first_us else first_us
    return now_us - heard_us > limit_us or now_us - record.sent_us > TOTAL_US
