"""What the books say, read from the roll-ups: each answer costs as much as its range. Reads only."""

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from headrace.economics.budgets import Budget
from headrace.economics.entries import Entry
from headrace.ports import Rate
from headrace.specs.priced import UNITS
from headrace.state.table import Price

DIMENSIONS: Final = ("hour_us", "tenant", "team", "key", "model", "version", "task", "unit")
_OF_MODELS: Final = frozenset({"model", "version", "task", "unit"})  # what spend_model tells apart
DAY_US: Final = 24 * 3_600_000_000
_EACH: Final = f" AND unit IN ({', '.join(repr(unit) for unit in UNITS)})"
_SUMS: Final = ("amount", "charge_nanousd", "cost_nanousd")
_ENTRY: Final = "SELECT id, at_us, hour_us, book, kind, debit, credit, nanousd, subject, note FROM entry"
T = TypeVar("T")
_price: Callable[[bytes], Price] = msgspec.msgpack.Decoder(Price).decode
_budget: Callable[[bytes], Budget] = msgspec.msgpack.Decoder(Budget).decode


Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


class Records(Protocol):
    """Rows of one record each, decoded."""

    def __call__(self, query: str, values: tuple[Any, ...], made: Callable[[bytes], T], /) -> list[T]:
        """In the order of the query."""
        ...


class Statements:
    """Queries over one connection, asked through `rows` and `records`, which say it in words when a file is damaged."""

    def __init__(self, rows: Rows, records: Records) -> None:
        self._rows = rows
        self._records = records

    def spend(self, by: tuple[str, ...], from_us: int, to_us: int, tenant: str | None = None) -> list[dict[str, Any]]:
        """Sums of amount, charge and cost over [from, to), grouped by dimensions; whole hours.

        Amounts of different units are never added up: without `unit` among the dimensions, requests are counted.
        """
        assert set(by) <= set(DIMENSIONS), "dimensions come from a fixed list, never from a caller's text"
        if "hour_us" in by:
            return self._sums(by, "spend", "hour_us", from_us, to_us, tenant)
        first, last = -(-from_us // DAY_US) * DAY_US, to_us // DAY_US * DAY_US
        if first >= last:
            return self._sums(by, "spend", "hour_us", from_us, to_us, tenant)
        days = "spend_model" if tenant is None and set(by) <= _OF_MODELS else "spend_day"
        parts = [
            *self._sums(by, "spend", "hour_us", from_us, first, tenant),
            *self._sums(by, days, "day_us", first, last, tenant),
            *self._sums(by, "spend", "hour_us", last, to_us, tenant),
        ]
        return _added(by, parts)

    def _sums(
        self, by: tuple[str, ...], table: str, time: str, from_us: int, to_us: int, tenant: str | None
    ) -> list[dict[str, Any]]:
        """One range of one table of roll-ups."""
        names = ", ".join(by)
        only = _EACH if "unit" in by else " AND unit = ''"  # named, so that each is one range of the table
        group = f" GROUP BY {names} ORDER BY {names}" if by else ""
        query = (
            f"SELECT {names + ', ' if by else ''}sum(amount), sum(charge_nanousd), sum(cost_nanousd) FROM {table} "  # noqa: S608 - names from DIMENSIONS and literals
            f"WHERE {time} >= ?1 AND {time} < ?2{'' if tenant is None else ' AND tenant = ?3'}{only}{group}"
        )
        heads = (*by, *_SUMS)
        rows = self._rows(query, (from_us, to_us, *([] if tenant is None else [tenant]))) if from_us < to_us else ()
        return [dict(zip(heads, row, strict=True)) for row in rows if row[-1] is not None]

    def balances(self, from_us: int, to_us: int) -> dict[str, int]:
        """What moved in each account over [from, to), nano-dollars."""
        query = "SELECT account, sum(nanousd) FROM balance WHERE hour_us >= ? AND hour_us < ? GROUP BY account"
        return dict(self._rows(query, (from_us, to_us)))

    def hourly(self, account: str, from_us: int, to_us: int) -> dict[int, int]:
        """One account, hour by hour."""
        query = "SELECT hour_us, nanousd FROM balance WHERE account = ? AND hour_us >= ? AND hour_us < ?"
        return dict(self._rows(query, (account, from_us, to_us)))

    def entries(self, subject: str) -> list[Entry]:
        """Everything about one request or lease, in order."""
        query = f"{_ENTRY} WHERE subject = ? AND subject <> '' ORDER BY seq LIMIT 1000"
        return [_entry(row) for row in self._rows(query, (subject,))]

    def after(self, seq: int, limit: int) -> list[tuple[int, Entry]]:
        """Entries in order, with their numbers."""
        query = _ENTRY.replace("SELECT id", "SELECT seq, id") + " WHERE seq > ? ORDER BY seq LIMIT ?"
        return [(row[0], _entry(row[1:])) for row in self._rows(query, (seq, limit))]

    def booked(self) -> dict[str, int]:
        """Until when each device's time is in the books."""
        return dict(self._rows("SELECT device, until_us FROM booked", ()))

    def head(self) -> tuple[int, str]:
        """How many entries there are, and the hash of the last one, hex."""
        row = next(iter(self._rows("SELECT seq, hex(hash) FROM entry ORDER BY seq DESC LIMIT 1", ())), None)
        return (row[0], row[1].lower()) if row else (0, "")

    def prices(self) -> list[Price]:
        """Every price there was, oldest first."""
        return self._records("SELECT record FROM price ORDER BY from_us", (), _price)

    def price(self, name: str) -> Price | None:
        """The price of that id."""
        return next(iter(self._records("SELECT record FROM price WHERE id = ? LIMIT 1", (name,), _price)), None)

    def rates(self) -> list[Rate]:
        """What each pool's device cost, and from when on; oldest first."""
        query = "SELECT pool, from_us, nanousd_per_hour, basis FROM rate ORDER BY from_us"
        return [
            Rate(pool=pool, from_us=at, nanousd_per_hour=rate, basis=basis)
            for pool, at, rate, basis in self._rows(query, ())
        ]

    def budgets(self) -> list[Budget]:
        """Those that were set here."""
        return self._records("SELECT record FROM budget ORDER BY scope, period", (), _budget)

    def budget_spent(self) -> dict[str, dict[str, int]]:
        """By budget id and gateway epoch, nano-dollars; "" is all gateways that are gone."""
        found: dict[str, dict[str, int]] = {}
        for budget, epoch, amount in self._rows("SELECT budget, epoch, nanousd FROM budget_spent", ()):
            found.setdefault(budget, {})[epoch] = amount
        return found


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(
        id=row[0], at_us=row[1], hour_us=row[2], book=row[3], kind=row[4], debit=row[5], credit=row[6],
        nanousd=row[7], subject=row[8], note=row[9],
    )  # fmt: skip


def _added(by: tuple[str, ...], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the same place, added up; in order."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in parts:
        place = tuple(row[name] for name in by)
        if place in found:
            for name in _SUMS:
                found[place][name] += row[name]
        else:
            found[place] = row
    return [found[place] for place in sorted(found)]
