"""Forecasts of spend: one of each day is kept at its beginning, and scored when the day is over.

A day's forecast is made from what was spent before its midnight (UTC) and nothing later, so that it matters little when
in the day it is made. Kept for the whole cloud, for each tenant, and for teams and keys with a budget.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from headrace.economics import forecast
from headrace.economics.budgets import Budget, Period
from headrace.economics.entries import HOUR_US, hour_of
from headrace.economics.forecast import DAY_US, Model, Outlook, Score
from headrace.ports import Clock, Store

HISTORY_US: Final = 56 * DAY_US
KEPT_DAYS: Final = 60
TOTAL: Final = "total"
_KEPT: Final = "forecasts"
_PPM: Final = 1_000_000


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One day's forecast of one scope; `actual` is None until the day is over and in the books. Nano-dollars."""

    expected: int
    low: int
    high: int
    actual: int | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """How the kept forecasts of one scope did. `error_ppm` is the mean over days with spend, -1 when there is none."""

    days: int
    error_ppm: int
    within_band_ppm: int
    yesterday: Score | None = None


class Forecasts:
    """One cloud's forecasts. `settled_until` is when the charges in the store end, `budgets` the budgets there are."""

    def __init__(
        self,
        store: Store,
        settled_until: Callable[[], int],
        clock: Clock,
        budgets: Callable[[], Iterable[Budget]] = tuple,
    ) -> None:
        self._budgets = budgets
        self._store = store
        self._settled_until = settled_until
        self._clock = clock
        kept = store.get(_KEPT)
        self._days = msgspec.json.decode(kept, type=dict[int, dict[str, Kept]]) if kept else {}

    # --- what is kept -------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Score the days that are over, and forecast the one that has begun. Again is no fault."""
        settled_us = self._settled_until()
        today = self._clock.now_us() // DAY_US
        changed = False
        for day, scopes in self._days.items():
            waits = any(kept.actual is None for kept in scopes.values())
            if waits and day < today and (day + 1) * DAY_US <= settled_us:
                self._days[day] = self._scored(day, scopes)
                changed = True
        if today not in self._days and today * DAY_US <= settled_us:
            self._days[today] = self._forecast(today)
            changed = True
        for day in [day for day in self._days if day <= today - KEPT_DAYS]:
            del self._days[day]
            changed = True
        if changed:
            self._store.put(_KEPT, msgspec.json.encode(self._days))

    def _scored(self, day: int, scopes: dict[str, Kept]) -> dict[str, Kept]:
        came_to = {scope: sum(hours) for scope, hours in self._series(day * DAY_US, (day + 1) * DAY_US).items()}
        return {scope: msgspec.structs.replace(kept, actual=came_to.get(scope, 0)) for scope, kept in scopes.items()}

    def _forecast(self, day: int) -> dict[str, Kept]:
        found = {}
        for scope, hours in self._series(day * DAY_US - HISTORY_US, day * DAY_US).items():
            if not forecast.shortage(hours):
                seen = Model(hours, day * DAY_US).outlook(0, day * DAY_US, (day + 1) * DAY_US)
                found[scope] = Kept(seen.expected_nanousd, seen.low_nanousd, seen.high_nanousd)
        return found

    def _series(self, from_us: int, to_us: int) -> dict[str, list[int]]:
        """Hourly spend of the cloud, of each tenant, and of each team and key with a budget."""
        length = (to_us - from_us) // HOUR_US
        found = {TOTAL: [0] * length}
        for row in self._store.statements.spend(("hour_us", "tenant"), from_us, to_us):
            at = (row["hour_us"] - from_us) // HOUR_US
            found[TOTAL][at] += row["charge_nanousd"]
            found.setdefault(f"tenant:{row['tenant']}", [0] * length)[at] += row["charge_nanousd"]
        for scope in sorted({budget.scope for budget in self._budgets()} - found.keys()):
            found[scope] = self._hours(scope, from_us, to_us)
        return found

    def scores(self, scope: str) -> Scores | None:
        """How forecasts of `total` or a scope did; None when none is scored yet."""
        scored = {
            day: forecast.score(kept.expected, kept.low, kept.high, kept.actual)
            for day, scopes in self._days.items()
            if (kept := scopes.get(scope)) is not None and kept.actual is not None
        }
        if not scored:
            return None
        errors = [one.error_ppm for one in scored.values() if one.error_ppm >= 0]
        return Scores(
            days=len(scored),
            error_ppm=sum(errors) // len(errors) if errors else -1,
            within_band_ppm=sum(one.within_band for one in scored.values()) * _PPM // len(scored),
            yesterday=scored.get(self._clock.now_us() // DAY_US - 1),
        )

    # --- what is asked ------------------------------------------------------------------------------------------

    def of(self, budget: Budget, spent: int) -> Outlook | str:
        """The rest of a budget's period, or why it cannot be told."""
        return self._outlook(self._scope(budget.scope), budget.period, spent, budget.limit_nanousd)

    def total(self, period: Period = "month") -> Outlook | str:
        """The rest of the cloud's month, or why it cannot be told."""
        from_us, _ = forecast.period_us(period, self._clock.now_us())
        hours = self._store.statements.spend(("hour_us",), from_us, self._clock.now_us() + 1)
        return self._outlook(self._scope(TOTAL), period, sum(row["charge_nanousd"] for row in hours), None)

    def _outlook(self, hours: Sequence[int], period: Period, spent: int, limit: int | None) -> Outlook | str:
        short = forecast.shortage(hours)
        if short:
            return short
        now_us = self._clock.now_us()
        _, until_us = forecast.period_us(period, now_us)
        return Model(hours, hour_of(now_us)).outlook(spent, now_us, until_us, limit)

    def _scope(self, scope: str) -> list[int]:
        """Hourly spend of one scope, up to the last whole hour."""
        to_us = hour_of(self._clock.now_us())
        return self._hours(scope, to_us - HISTORY_US, to_us)

    def _hours(self, scope: str, from_us: int, to_us: int) -> list[int]:
        """Hourly spend of one scope over [from, to)."""
        kind, _, name = scope.partition(":")
        tenant, _, team = name.partition("/")
        by = {"team": ("hour_us", "team"), "key": ("hour_us", "key")}.get(kind, ("hour_us",))
        only = {"team": team, "key": name}.get(kind)
        hours = [0] * ((to_us - from_us) // HOUR_US)
        whose = tenant if kind in ("tenant", "team") else None
        for row in self._store.statements.spend(by, from_us, to_us, whose):
            if only is None or row[kind] == only:
                hours[(row["hour_us"] - from_us) // HOUR_US] += row["charge_nanousd"]
        return hours
