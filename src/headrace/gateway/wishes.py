"""How urgent a client says its request is: `x-headrace-priority` and `x-headrace-deadline-ms`."""

from typing import Final

from headrace.errors import Invalid
from headrace.gateway.http1 import Head
from headrace.state.request import CLASSES
from headrace.wire.call import Call

DEADLINE_MAX_MS: Final = 24 * 3_600_000
_PLACES: Final = {name.encode(): place for place, name in enumerate(CLASSES)}


def take(call: Call, head: Head) -> None:
    """Note them in the call; the header is stronger than the body's `service_tier`. Raises Invalid."""
    priority = head.headers.get(b"x-headrace-priority")
    if priority is not None:
        place = _PLACES.get(priority.lower())
        if place is None:
            given = priority[:40].decode("ascii", "replace")
            raise Invalid(f"x-headrace-priority is {given!r}; give {', '.join(CLASSES)}.", param="x-headrace-priority")
        call.priority = place
    deadline = head.headers.get(b"x-headrace-deadline-ms")
    if deadline is not None:
        if not (deadline.isdigit() and len(deadline) <= 9 and 1 <= int(deadline) <= DEADLINE_MAX_MS):
            given = deadline[:40].decode("ascii", "replace")
            raise Invalid(
                f"x-headrace-deadline-ms is {given!r}; give a whole number from 1 to {DEADLINE_MAX_MS}.",
                param="x-headrace-deadline-ms",
            )
        call.patience_us = 1_000 * int(deadline)
