"""The ledger in the database: entries appended and chained, roll-ups added to, all in the caller's transaction.

Roll-ups have a fixed size (accounts and hours, tenants and models), so a page costs as much as its range, never as
much as its requests. An entry whose id is there already changes nothing, nor does its roll-up.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import apsw
import msgspec

from headrace.economics import entries as ledger_entries
from headrace.economics.budgets import Budget
from headrace.economics.entries import FIRST_HASH, Entry, hour_of
from headrace.economics.metering import quantities
from headrace.economics.prices import lines
from headrace.ports import Rate
from headrace.state.table import Price
from headrace.state.usage import Usage

_POST: Final = """
    INSERT INTO entry (id, at_us, hour_us, book, kind, debit, credit, nanousd, subject, note, hash)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_BALANCE: Final = """
    INSERT INTO balance VALUES (?, ?, ?) ON CONFLICT (account, hour_us) DO UPDATE SET
    nanousd = nanousd + excluded.nanousd
"""
_SPEND: Final = """
    INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT ({time}, tenant, team, key, model, version, task, unit) DO UPDATE SET
    amount = amount + excluded.amount, charge_nanousd = charge_nanousd + excluded.charge_nanousd,
    cost_nanousd = cost_nanousd + excluded.cost_nanousd
"""
_BUDGET: Final = """
    INSERT INTO budget_spent VALUES (?, ?, ?) ON CONFLICT (budget, epoch) DO UPDATE SET
    nanousd = nanousd + excluded.nanousd
"""
_BY_MODEL: Final = """
    INSERT INTO spend_model VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (unit, day_us, model, version, task) DO UPDATE SET
    amount = amount + excluded.amount, charge_nanousd = charge_nanousd + excluded.charge_nanousd,
    cost_nanousd = cost_nanousd + excluded.cost_nanousd
"""
_BY_HOUR: Final = _SPEND.format(table="spend", time="hour_us")
_BY_DAY: Final = _SPEND.format(table="spend_day", time="day_us")
DAY_US: Final = 24 * 3_600_000_000
WHOLE: Final = ""  # the unit of the row in which a request counts as one, with its whole charge and cost
_Place = tuple[int, str, str, str, str, str, str, str]
_encode = msgspec.msgpack.Encoder().encode


class Ledger:
    """Writes to the tables of the books. Every method runs inside a transaction that somebody else began."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def post(self, entries: Iterable[Entry]) -> int:
        """Append what is not there yet, chained in order; how many were new."""
        before = self._last_hash()
        totals: dict[tuple[str, int], int] = {}
        new = 0
        for entry in entries:
            made = ledger_entries.chained(before, entry)
            self._db.execute(
                _POST,
                (
                    entry.id, entry.at_us, entry.hour_us, entry.book, entry.kind, entry.debit, entry.credit,
                    entry.nanousd, entry.subject, entry.note, made,
                ),
            )  # fmt: skip
            if self._db.changes():
                before = made
                new += 1
                debit, credit = (entry.debit, entry.hour_us), (entry.credit, entry.hour_us)
                totals[debit] = totals.get(debit, 0) + entry.nanousd
                totals[credit] = totals.get(credit, 0) - entry.nanousd
        self._db.executemany(_BALANCE, [(account, hour, amount) for (account, hour), amount in totals.items()])
        return new

    def charged(self, rows: Iterable[Usage], price_of: Mapping[str, Price]) -> None:
        """The charges of new usage rows: entries, what was used of each unit, and what budgets have left."""
        spend: dict[_Place, list[int]] = {}
        budgets: dict[tuple[str, str], int] = {}
        posted = []
        for row in rows:
            entry = ledger_entries.charge(row)
            if entry is not None:
                posted.append(entry)
                for budget in row.budgets:
                    place = (budget, row.epoch)
                    budgets[place] = budgets.get(place, 0) + row.charge_nanousd
            self._meter(row, price_of.get(row.price), spend)
        self.post(posted)
        self._spend(spend)
        self._db.executemany(_BUDGET, [(*place, amount) for place, amount in budgets.items()])

    def _meter(self, row: Usage, price: Price | None, spend: dict[_Place, list[int]]) -> None:
        """Every unit in its own row, with its part of the charge; the whole in a row of its own."""
        used = quantities(row)
        at = (hour_of(row.ended_us), row.tenant, row.team, row.key, row.model, row.version, row.task)
        shares = {unit: -(-amount * per // 1000) for unit, amount, per in lines(price, used)} if price else {}
        parts = [(unit, amount, shares.get(unit, 0)) for unit, amount in used.items()]
        for unit, amount, charge in (*parts, (WHOLE, 1, row.charge_nanousd)) if parts else ():
            sums = spend.setdefault((*at, unit), [0, 0, 0])
            sums[0] += amount
            sums[1] += charge

    def costed(self, costs: Iterable[tuple[Usage, int]]) -> None:
        """What requests cost us, added to where their charges stand."""
        spend: dict[_Place, list[int]] = {}
        for row, nanousd in costs:
            place = (
                hour_of(row.ended_us), row.tenant, row.team, row.key, row.model, row.version, row.task, WHOLE
            )  # fmt: skip
            spend.setdefault(place, [0, 0, 0])[2] += nanousd
        self._spend(spend)

    def _spend(self, spend: dict[_Place, list[int]]) -> None:
        """Into the hours, into their days, and into days of models, whoever asked them.

        So a month is read from thirty rows a place and not from 720, and by model from few.
        """
        days: dict[_Place, list[int]] = {}
        models: dict[tuple[int, str, str, str, str], list[int]] = {}
        for place, sums in spend.items():
            day_us = place[0] - place[0] % DAY_US
            day = days.setdefault((day_us, *place[1:]), [0, 0, 0])
            model = models.setdefault((day_us, *place[4:]), [0, 0, 0])
            for at, amount in enumerate(sums):
                day[at] += amount
                model[at] += amount
        for statement, found in ((_BY_HOUR, spend), (_BY_DAY, days), (_BY_MODEL, models)):
            self._db.executemany(statement, [(*place, *sums) for place, sums in found.items()])

    def booked(self, device: str, until_us: int) -> None:
        """A device's time is in the books up to this moment."""
        self._db.execute("INSERT OR REPLACE INTO booked VALUES (?, ?)", (device, until_us))

    def price(self, price: Price) -> None:
        """A price from its moment on; what is there is never rewritten."""
        row = (price.id, price.from_us, price.model, price.tenant, _encode(price))
        self._db.execute("INSERT OR IGNORE INTO price VALUES (?, ?, ?, ?, ?)", row)

    def rate(self, rate: Rate) -> None:
        """What a pool's device costs from its moment on; what is there is never rewritten."""
        row = (rate.pool, rate.from_us, rate.nanousd_per_hour, rate.basis)
        self._db.execute("INSERT OR IGNORE INTO rate VALUES (?, ?, ?, ?)", row)

    def withdraw(self, terms: Price | Rate) -> None:
        """Forget a price or rate that never began: the caller knows that its moment is still to come."""
        if isinstance(terms, Price):
            place: tuple[str | int, ...] = (terms.model, terms.tenant, terms.from_us)
            self._db.execute("DELETE FROM price WHERE model = ? AND tenant = ? AND from_us = ?", place)
        else:
            self._db.execute("DELETE FROM rate WHERE pool = ? AND from_us = ?", (terms.pool, terms.from_us))

    def budget(self, budget: Budget, *, remove: bool = False) -> None:
        """Keep a budget, or forget it."""
        if remove:
            self._db.execute("DELETE FROM budget WHERE scope = ? AND period = ?", (budget.scope, budget.period))
        else:
            row = (budget.scope, budget.period, _encode(budget))
            self._db.execute("INSERT OR REPLACE INTO budget VALUES (?, ?, ?)", row)

    def epoch_ended(self, epoch: str) -> None:
        """A gateway is gone and settled: what it spent is nobody's in particular any more."""
        spent = list(self._db.execute("SELECT budget, nanousd FROM budget_spent WHERE epoch = ?", (epoch,)))
        self._db.executemany(_BUDGET, [(budget, "", amount) for budget, amount in spent])
        self._db.execute("DELETE FROM budget_spent WHERE epoch = ?", (epoch,))

    def _last_hash(self) -> bytes:
        row = next(iter(self._db.execute("SELECT hash FROM entry ORDER BY seq DESC LIMIT 1")), None)
        return bytes(row[0]) if row else FIRST_HASH
