"""Routes about budgets: what each may spend, has spent and holds; set and removed by administrators."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin import views
from headrace.control.admin.routes import AdminRoute, Query, decoded, json
from headrace.control.controller import Controller
from headrace.economics.budgets import AtLimit, Budget, Period, period_name

LIMIT_MAX_NANOUSD: Final = 10**18
_NAME: Final = "[a-z0-9][a-z0-9._-]*"
_SCOPE: Final = rf"^(tenant:{_NAME}|team:{_NAME}/[A-Za-z0-9._-]+|key:[a-z0-9]+|model:{_NAME})$"


class NewBudget(msgspec.Struct, forbid_unknown_fields=True):
    """A budget to set. `scope` is tenant:NAME, team:TENANT/NAME, key:ID or model:NAME."""

    scope: Annotated[str, Meta(pattern=_SCOPE, max_length=200)]
    limit_nanousd: Annotated[int, Meta(ge=1, le=LIMIT_MAX_NANOUSD)]
    period: Period = "month"
    at_limit: AtLimit = "refuse"
    warn_percent: Annotated[tuple[Annotated[int, Meta(ge=1, le=100)], ...], Meta(max_length=10)] = (50, 80, 100)


class Budgets:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1/budgets"
        which = (
            Query("scope", "tenant:NAME, team:TENANT/NAME, key:ID or model:NAME."),
            Query("period", "day, month or total."),
        )
        return [
            AdminRoute("GET", at, "user", "Budgets and what is left of them.", self.every, gives=views.BudgetsView),
            AdminRoute(
                "POST", at, "admin", "Set a budget; in force before the answer.", self.set,
                takes=NewBudget, gives=views.BudgetView,
            ),
            AdminRoute("DELETE", at, "admin", "Remove one that was set here.", self.remove,
                       gives=views.BudgetsView, query=which),
        ]  # fmt: skip

    async def every(self, request: Request) -> Response:
        """All budgets, or those that the caller's requests count against."""
        control, key = self._controller, request.state.key
        await control.bookkeeper.try_to_catch_up()
        return json(self._shown(None if key.role == "admin" else (key.tenant, key.team, key.id)))

    def _shown(self, whose: tuple[str, str, str] | None) -> views.BudgetsView:
        control = self._controller
        mine = None if whose is None else {(b.scope, b.period) for b in control.budgets.of(*whose)}
        every = [b for b in control.budgets.all() if mine is None or (b.scope, b.period) in mine]
        return views.BudgetsView(budgets=[self._view(budget) for budget in every])

    def _view(self, budget: Budget) -> views.BudgetView:
        state = self._controller.budgets.state(budget)
        now_us = self._controller.clock.now_us()
        return views.BudgetView(
            scope=budget.scope,
            period=budget.period,
            name=period_name(budget.period, now_us),
            limit_nanousd=budget.limit_nanousd,
            spent_nanousd=state.settled,
            held_nanousd=state.outstanding,
            left_nanousd=max(0, state.free),
            at_limit=budget.at_limit,
            warn_percent=budget.warn_percent,
        )

    async def set(self, request: Request) -> Response:
        """Set a budget. A scope that nobody is in is refused."""
        control = self._controller
        wanted = await decoded(request, NewBudget)
        self._check(wanted.scope)
        if wanted.scope.startswith("model:") and wanted.at_limit == "degrade":
            told = "at_limit is degrade, and a model's budget shortens nobody's answers; give refuse or notify"
            raise errors.Invalid(told, param="at_limit")
        budget = Budget(**msgspec.structs.asdict(wanted))
        control.store.terms(budgets=[budget])
        control.records.decide(
            "budget.set", budget.scope, f"{budget.limit_nanousd} nano-dollars a {budget.period}, then {budget.at_limit}"
        )
        await control.budgets_changed()
        return json(self._view(budget))

    def _check(self, scope: str) -> None:
        control = self._controller
        kind, _, name = scope.partition(":")
        tenants = [tenant.name for tenant in control.catalog.tenants]
        if kind == "key" and name not in {record.id for record in control.keyring.records()}:
            raise errors.Invalid(f"there is no key {name[:40]!r}; see: headrace key list", param="scope", status=404)
        if kind == "model":
            if name not in control.catalog.names():
                there = ", ".join(control.catalog.names()) or "none"
                raise errors.Invalid(f"there is no model {name[:80]!r}; there are: {there}", param="scope", status=404)
            return
        if kind != "key" and name.partition("/")[0] not in tenants:
            raise errors.Invalid(
                f"there is no tenant {name.partition('/')[0][:80]!r}; there are: {', '.join(tenants)}",
                param="scope",
                status=404,
            )

    async def remove(self, request: Request) -> Response:
        """Remove a budget that was set here; those of the cloud file stand in it."""
        control = self._controller
        scope, span = request.query_params.get("scope", ""), request.query_params.get("period", "month")
        kept = [b for b in control.store.statements.budgets() if (b.scope, b.period) == (scope, span)]
        if not kept:
            raise errors.Invalid(
                f"no budget of {scope[:80]!r} for {span[:10]!r} was set here; see: headrace budget show",
                code="not_found",
                status=404,
            )
        control.store.terms(without=kept)
        control.records.decide("budget.remove", scope, f"the {span}'s budget was removed")
        await control.budgets_changed()
        return json(self._shown(None))
