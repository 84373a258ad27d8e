"""The route that hands the books to other programs: FOCUS rows, the spend roll-up, or events for metering sinks.

What an export adds up to is what the ledger says for the same hours, to the nano-dollar. It is written while it is
read, an hour at a time; how many rows there are is counted first, so that none ends in the middle.
"""

import asyncio
import csv
import datetime
import io
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace import errors
from headrace.control.admin.routes import AdminRoute, Query, whole
from headrace.control.controller import Controller
from headrace.economics import focus
from headrace.economics.entries import HOUR_US, Entry, hour_of
from headrace.economics.metering import quantities
from headrace.ports import Store

DAY_US: Final = 24 * HOUR_US
DAYS_MAX: Final = 366
ROWS_MAX: Final = 50_000  # of the roll-ups: up to 50 MB as FOCUS rows; the gateways relay at most 64 MiB
EVENTS_MAX: Final = 50_000
PAGE: Final = 500
SOURCE: Final = "/headrace/v1/ledger"
DIMENSIONS: Final = ("hour_us", "tenant", "team", "key", "model", "version", "task", "unit")
SPEND_HEADS: Final = ("hour", *DIMENSIONS, "amount", "charge_nanousd", "unit_charge_nanousd", "cost_nanousd")
FORMATS: Final = ("focus", "csv", "cloudevents")
_NAMES: Final = {"focus": "focus.csv", "csv": "spend.csv", "cloudevents": "charges.jsonl"}
ALWAYS_US: Final = 1 << 60
_QUERY: Final = (
    Query("format", "focus (FOCUS 1.2 as CSV), csv (the spend roll-up) or cloudevents (charges, one JSON a line)."),
    Query("from", "YYYY-MM-DD or microseconds, a whole hour (UTC); the beginning of `to`'s month when not given."),
    Query("to", "The same, exclusive; the last hour that is wholly booked when not given."),
    Query("after", "cloudevents: only those after this `sequence`.", "integer"),
    Query("limit", f"cloudevents: how many, at most {EVENTS_MAX}.", "integer"),
)


class Exports:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        path, told = "/headrace/v1/cost/export", "The books of a time: FOCUS 1.2, the spend roll-up, or charge events."
        return [AdminRoute("GET", path, "admin", told, self.export, gives=str, query=_QUERY)]

    async def export(self, request: Request) -> Response:
        """Write the books of a time in one of three forms."""
        control = self._controller
        form = request.query_params.get("format", "focus")
        if form not in FORMATS:
            raise errors.Invalid(f"format is {form[:40]!r}; give one of: {', '.join(FORMATS)}", param="format")
        await control.bookkeeper.catch_up()
        events = form == "cloudevents"
        to_us = moment(request, "to", ALWAYS_US if events else self._booked_us())
        from_us = moment(request, "from", 0 if events else month(to_us - 1))
        if from_us > to_us:
            raise errors.Invalid(f"from is {_iso(from_us)}, after to, which is {_iso(to_us)}", param="from")
        headers = {"content-disposition": f'attachment; filename="{_NAMES[form]}"'}
        if events:
            after, limit = whole(request, "after", 0, ALWAYS_US), whole(request, "limit", EVENTS_MAX, EVENTS_MAX)
            told = charge_events(control.store, from_us, to_us, after, limit)
            return StreamingResponse(told, media_type="application/x-ndjson", headers=headers)
        await self._check(form, from_us, to_us)
        rows = focus_csv if form == "focus" else spend_csv
        return StreamingResponse(rows(control.store, from_us, to_us), media_type="text/csv", headers=headers)

    def _booked_us(self) -> int:
        """The beginning of the first hour that is not wholly in the books: what is before it changes no more."""
        control = self._controller
        return hour_of(min([control.clock.now_us(), *control.store.statements.booked().values()]))

    async def _check(self, form: str, from_us: int, to_us: int) -> None:
        """Raises Invalid when there is more than one answer may hold."""
        asked = f"from {_iso(from_us)} to {_iso(to_us)}"
        if to_us - from_us > DAYS_MAX * DAY_US:
            raise errors.Invalid(f"{asked} is more than {DAYS_MAX} days; ask for less at once", param="from")
        rows = 0
        for hour_us, spend, balances in _by_hour(self._controller.store, from_us, to_us):
            rows += len(spend) + (len(balances) if form == "focus" else 0)
            if rows > ROWS_MAX:
                raise errors.Invalid(
                    f"{asked} has more than {ROWS_MAX} rows; the first of them end at {_iso(hour_us)}: ask up to "
                    "there, then from there on",
                    param="to",
                )
            await asyncio.sleep(0)


async def focus_csv(store: Store, from_us: int, to_us: int) -> AsyncIterator[str]:
    """FOCUS 1.2 rows, hour by hour."""
    prices = focus.Prices(store.statements.prices())
    yield _lines([focus.COLUMNS])
    for hour_us, spend, balances in _by_hour(store, from_us, to_us):
        yield _lines(focus.cells(row) for row in focus.hour_rows(hour_us, spend, balances, prices))
        await asyncio.sleep(0)


async def spend_csv(store: Store, from_us: int, to_us: int) -> AsyncIterator[str]:
    """The roll-up as it is kept. The charge of a request stands in its row of the unit `requests` alone, so that sums
    are right; what each unit comes to, rounded up by itself, stands beside it as `unit_charge_nanousd`.
    """
    yield _lines([SPEND_HEADS])
    for hour_us in hours(from_us, to_us):
        rows = _spend(store, hour_us)
        yield _lines([_iso(hour_us), *(row[name] for name in DIMENSIONS), *_sums(row)] for row in rows)
        await asyncio.sleep(0)


def _spend(store: Store, hour_us: int) -> list[dict[str, Any]]:
    """One hour by every dimension; the whole charge and cost of requests in their row of the unit `requests`."""
    whole_by = tuple(name for name in DIMENSIONS if name != "unit")
    whole = {
        tuple(row[name] for name in whole_by): row
        for row in store.statements.spend(whole_by, hour_us, hour_us + HOUR_US)
    }
    rows = store.statements.spend(DIMENSIONS, hour_us, hour_us + HOUR_US)
    for row in rows:
        if row["unit"] == focus.REQUESTS:
            found = whole[tuple(row[name] for name in whole_by)]
            row |= {name: found[name] for name in ("charge_nanousd", "cost_nanousd")}
    return rows


def _sums(row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    charge, whole_charge = row["charge_nanousd"], row["unit"] == focus.REQUESTS
    return row["amount"], charge if whole_charge else 0, 0 if whole_charge else charge, row["cost_nanousd"]


async def charge_events(store: Store, from_us: int, to_us: int, after: int, limit: int) -> AsyncIterator[str]:
    """Charges and their reversals as CloudEvents 1.0, one JSON object a line, in the ledger's order.

    `id` with `source` is the same for ever, so that a sink that was sent an event twice counts it once; `sequence` is
    where to go on. Whoever follows the ledger so gives no `from` and `to`: an entry may come after its hour.
    """
    while limit:
        page = store.statements.after(after, PAGE)
        chosen = [(seq, entry) for seq, entry in page if entry.book == "price" and from_us <= entry.hour_us < to_us]
        lines = [msgspec.json.encode(event(store, seq, entry)).decode() + "\n" for seq, entry in chosen[:limit]]
        limit -= len(lines)
        yield "".join(lines)
        if len(page) < PAGE:
            return
        after = page[-1][0]
        await asyncio.sleep(0)


def event(store: Store, seq: int, entry: Entry) -> dict[str, Any]:
    """One entry of the price book as a CloudEvent; a reversal takes from the tenant and is negative."""
    charged = entry.debit.startswith("due/")
    due, revenue = (entry.debit, entry.credit) if charged else (entry.credit, entry.debit)
    tenant = due.partition("/")[2]
    data: dict[str, Any] = {
        "tenant": tenant,
        "model": revenue.partition("/")[2],
        "request": entry.subject,
        "nanousd": entry.nanousd if charged else -entry.nanousd,
        "usd": focus.dollars((entry.nanousd if charged else -entry.nanousd) * 1000),
        "currency": "USD",
        "hour_us": entry.hour_us,
        "note": entry.note,
    }
    row = store.usage_get(entry.subject) if charged and entry.subject else None
    if row is not None:
        data |= {"key": row.key, "team": row.team, "task": row.task, "price": row.price, "units": dict(quantities(row))}
    return {
        "specversion": "1.0",
        "id": entry.id.hex(),
        "source": SOURCE,
        "type": f"headrace.{entry.kind}",
        "subject": tenant,
        "time": _iso(entry.at_us),
        "sequence": str(seq),
        "datacontenttype": "application/json",
        "data": data,
    }


def _by_hour(store: Store, from_us: int, to_us: int) -> Iterator[tuple[int, list[dict[str, Any]], dict[str, int]]]:
    """Spend and balances of each hour that has any."""
    accounts = sorted(store.statements.balances(from_us, to_us))
    for day_us in range(from_us, to_us, DAY_US):
        end_us = min(day_us + DAY_US, to_us)
        moved: dict[int, dict[str, int]] = {}
        for account in accounts:
            for hour_us, amount in store.statements.hourly(account, day_us, end_us).items():
                moved.setdefault(hour_us, {})[account] = amount
        for hour_us in hours(day_us, end_us):
            spend = _spend(store, hour_us)
            if spend or hour_us in moved:
                yield hour_us, spend, moved.get(hour_us, {})


def hours(from_us: int, to_us: int) -> range:
    """The beginnings of the hours of a time."""
    return range(from_us, to_us, HOUR_US)


def moment(request: Request, name: str, default: int) -> int:
    """A day or a whole hour of the query. Raises Invalid."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if given.isascii() and given.isdigit() and len(given) <= 16:
        at_us = int(given)
        if at_us % HOUR_US:
            raise errors.Invalid(
                f"{name} is {given}, not a whole hour; the nearest are {hour_of(at_us)} and {hour_of(at_us) + HOUR_US}",
                param=name,
            )
        return at_us
    try:
        day = datetime.date.fromisoformat(given) if len(given) == len("YYYY-MM-DD") else None
    except ValueError:
        day = None
    if day is None or day.year < 1970:
        raise errors.Invalid(
            f"{name} is {given[:40]!r}; give a day as YYYY-MM-DD, or microseconds since 1970, both in UTC", param=name
        )
    return (day - datetime.date(1970, 1, 1)).days * DAY_US


def month(at_us: int) -> int:
    """When the billing period of a moment began."""
    day = datetime.datetime.fromtimestamp(max(0, at_us) // 1_000_000, datetime.UTC).date().replace(day=1)
    return (day - datetime.date(1970, 1, 1)).days * DAY_US


def _iso(at_us: int) -> str:
    at = datetime.datetime.fromtimestamp(at_us // 1_000_000, datetime.UTC).replace(microsecond=at_us % 1_000_000)
    return at.isoformat().replace("+00:00", "Z")


def _lines(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
