"""The route that tells where spending is going: for the cloud and each budget, with how well that was known before."""

import asyncio
import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.control.admin.routes import AdminRoute, json
from headrace.control.controller import Controller
from headrace.control.forecasts import TOTAL, Scores
from headrace.economics.focus import dollars
from headrace.economics.forecast import BAND_PERCENT, Outlook
from headrace.economics.prices import PICOUSD_PER_NANOUSD


class ForecastView(msgspec.Struct, frozen=True, kw_only=True):
    """One scope's period. Without an outlook, `text` says why; a score is of the scope's tenant, or of the cloud."""

    scope: str
    period: str
    limit_nanousd: int | None
    outlook: Outlook | None
    score: Scores | None
    text: str


class ForecastsView(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud's month, and every budget's current period. The band is meant to hold 80 % of what happens."""

    at_us: int
    band_percent: int
    total: ForecastView
    budgets: list[ForecastView]


class Forecast:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        path, told = "/headrace/v1/cost/forecast", "Where spending is going, by budget, and how good forecasts were."
        return [AdminRoute("GET", path, "admin", told, self.show, gives=ForecastsView)]

    async def show(self, _request: Request) -> Response:
        """The cloud's month, and every budget's period."""
        control = self._controller
        await control.bookkeeper.catch_up()
        found = []
        for budget in control.budgets.all():
            spent = control.budgets.state(budget).settled
            seen = control.forecasts.of(budget, spent)
            found.append(self._view(budget.scope, budget.period, budget.limit_nanousd, seen))
            await asyncio.sleep(0)  # others have their turn
        total = self._view(TOTAL, "month", None, control.forecasts.total())
        return json(ForecastsView(at_us=control.clock.now_us(), band_percent=BAND_PERCENT, total=total, budgets=found))

    def _view(self, scope: str, period: str, limit: int | None, seen: Outlook | str) -> ForecastView:
        scores = self._controller.forecasts.scores(scope)
        outlook = None if isinstance(seen, str) else seen
        text = seen if isinstance(seen, str) else _told(seen, limit)
        return ForecastView(
            scope=scope, period=period, limit_nanousd=limit, outlook=outlook, score=scores,
            text=f"{text}; {_scored(scores)}",
        )  # fmt: skip


def _told(seen: Outlook, limit: int | None) -> str:
    text = (
        f"{_usd(seen.spent_nanousd)} spent, {_usd(seen.expected_nanousd)} expected by {_date(seen.until_us)}, "
        f"between {_usd(seen.low_nanousd)} and {_usd(seen.high_nanousd)} in {BAND_PERCENT} % of cases"
    )
    if limit is None:
        return text
    if seen.lands_us is None and seen.lands_earliest_us is None:
        return f"{text}; the limit of {_usd(limit)} is not reached by then"
    earliest, expected, latest = (
        _date(at) if at is not None else "not by then"
        for at in (seen.lands_earliest_us, seen.lands_us, seen.lands_latest_us)
    )
    return f"{text}; the limit of {_usd(limit)} is reached: earliest {earliest}, expected {expected}, latest {latest}"


def _scored(scores: Scores | None) -> str:
    if scores is None:
        return "no forecast of a day is scored yet"
    known = f"off by {scores.error_ppm / 10_000:.1f} % on average" if scores.error_ppm >= 0 else "of days without spend"
    return f"{scores.days} daily forecasts scored: {known}, {scores.within_band_ppm / 10_000:.0f} % within their band"


def _usd(nanousd: int) -> str:
    return f"{dollars(nanousd * PICOUSD_PER_NANOUSD)} USD"


def _date(at_us: int) -> str:
    return datetime.datetime.fromtimestamp(at_us // 1_000_000, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
