"""A time from one moment to another, as queries give it: dates (midnight UTC) or microseconds; whole hours."""

import datetime
from typing import Final, NamedTuple

from starlette.requests import Request

from headrace import errors
from headrace.control.admin.routes import Query
from headrace.economics.entries import HOUR_US, hour_of

DAY_US: Final = 24 * HOUR_US
DEFAULT_DAYS: Final = 7
QUERIES: Final = (
    Query("from", "YYYY-MM-DD, or microseconds since 1970; seven days ago when left out."),
    Query("to", "The same, exclusive; now when left out."),
)
_US_MAX: Final = 1 << 60


class Period(NamedTuple):
    """From inclusive, to exclusive; whole hours, microseconds."""

    from_us: int
    to_us: int


def period(request: Request, now_us: int) -> Period:
    """The period a query asks for. Raises Invalid."""
    to_us = moment(request, "to")
    end_us = hour_of(now_us) + HOUR_US if to_us is None else hour_of(to_us + HOUR_US - 1)
    from_us = moment(request, "from")
    start_us = end_us - DEFAULT_DAYS * DAY_US if from_us is None else hour_of(from_us)
    if start_us >= end_us:
        raise errors.Invalid("from is not before to; give an earlier from", param="from")
    return Period(start_us, end_us)


def moment(request: Request, name: str) -> int | None:
    """A moment of the query, microseconds since 1970; None when it is not there. Raises Invalid."""
    given = request.query_params.get(name)
    if given is None:
        return None
    if given.isascii() and given.isdigit() and len(given) <= 19 and int(given) < _US_MAX:
        return int(given)
    try:
        day = datetime.date.fromisoformat(given)
    except ValueError:
        message = f"{name} is {given[:40]!r}; give a date like 2026-11-01, or microseconds since 1970"
        raise errors.Invalid(message, param=name) from None
    return (day - datetime.date(1970, 1, 1)).days * DAY_US
