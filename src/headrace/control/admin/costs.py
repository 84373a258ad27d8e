"""Routes about money: what a time cost and why, by whom and for what; what it would have cost elsewhere; the proof."""

import asyncio
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin import views
from headrace.control.admin.period import QUERIES, period
from headrace.control.admin.routes import AdminRoute, Query, json, whole
from headrace.control.controller import Controller
from headrace.economics.audit import Audit
from headrace.economics.statement import PPM, ModelCost, compare, statement
from headrace.policy.alternatives import alternatives
from headrace.specs.priced import Unit
from headrace.state.table import Price

BY: Final = {
    "tenant": "tenant",
    "team": "team",
    "key": "key",
    "model": "model",
    "version": "version",
    "task": "task",
    "unit": "unit",
    "hour": "hour_us",
}
_BY: Final = Query("by", f"Comma-separated: {', '.join(BY)}.")
_TO: Final = Query("against", "PROVIDER/MODEL, like openai/gpt-4o-mini; each model's own compare_to when left out.")
_HEAD: Final = Query("head", "NUMBER:HASH of an entry, as it was noted elsewhere.")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_RATE: Final = Query("rate_percent", "What devices would cost, in percent of what they do; 100.", "integer")


class Costs:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1"
        return [
            AdminRoute(
                "GET", f"{at}/cost", "user", "Charges (and, for admins, costs) by dimension.", self.by,
                gives=views.Spend, query=(_BY, *QUERIES),
            ),
            AdminRoute(
                "GET", f"{at}/cost/statement", "admin", "What a time cost, and where it went.", self.statement,
                gives=views.StatementView, query=QUERIES,
            ),
            AdminRoute(
                "GET", f"{at}/cost/compare", "admin", "Beside a closed API.", self.compare,
                gives=views.Comparisons, query=(_TO, _RATE, *QUERIES),
            ),
            AdminRoute("GET", f"{at}/cost/verify", "admin", "Prove the books.", self.verify, gives=Audit,
                query=(_HEAD,),
            ),
            AdminRoute("GET", f"{at}/prices", "user", "Prices in force.", self.prices, gives=views.Prices),
        ]  # fmt: skip

    async def by(self, request: Request) -> Response:
        """Sums by what the query names; a key of role user sees its own tenant's charges."""
        control, key = self._controller, request.state.key
        await control.bookkeeper.try_to_catch_up()
        asked = [word for word in request.query_params.get("by", "tenant,model").split(",") if word]
        for word in asked:
            if word not in BY:
                raise errors.Invalid(f"by is {word[:40]!r}; give some of {', '.join(BY)}", param="by")
        span = period(request, control.clock.now_us())
        admin = key.role == "admin"
        columns = tuple(dict.fromkeys(BY[word] for word in asked))
        rows = control.store.statements.spend(columns, *span, None if admin else key.tenant)
        if not admin:
            rows = [{name: value for name, value in row.items() if name != "cost_nanousd"} for row in rows]
        booked_us = min(control.store.statements.booked().values(), default=0)
        return json(views.Spend(from_us=span.from_us, to_us=span.to_us, booked_until_us=booked_us, rows=rows))

    async def statement(self, request: Request) -> Response:
        """All accounts of a time."""
        control = self._controller
        await control.bookkeeper.try_to_catch_up()
        span = period(request, control.clock.now_us())
        made = statement(control.store.statements.balances(*span))
        booked = control.store.statements.booked()
        return json(
            views.StatementView(
                from_us=span.from_us,
                to_us=span.to_us,
                booked_until_us=min(booked.values(), default=0),
                owed_nanousd=made.owed_nanousd,
                charged_nanousd=made.charged_nanousd,
                free_nanousd=made.free_nanousd,
                fragment_nanousd=made.fragment_nanousd,
                residual_nanousd=made.residual_nanousd,
                models=[views.model_cost(model) for model in made.models],
                borne_nanousd=made.borne_nanousd,
                rates={
                    pool.name: rates[-1].nanousd_per_hour * pool.count
                    for pool in control.catalog.pools
                    if (rates := control.terms.rates(pool.name))
                },
            )
        )

    async def compare(self, request: Request) -> Response:
        """What a closed API would have charged for the same work, and where the break-even lies."""
        control = self._controller
        span = period(request, control.clock.now_us())
        against = request.query_params.get("against", "")
        rate_ppm = whole(request, "rate_percent", 100, 1000) * PPM // 100
        names = {model.key: against or model.compare_to for model in control.catalog.models}
        await control.market.learn(name for name in names.values() if name)
        if against and control.market.units(against) is None:
            raise errors.Invalid(control.market.problem(against), param="against", code="not_found", status=404)
        costs = {model.model: model for model in statement(control.store.statements.balances(*span)).models}
        used: dict[str, dict[Unit, int]] = {}
        for row in control.store.statements.spend(("model", "version", "unit"), *span):
            used.setdefault(f"{row['model']}@{row['version']}", {})[row["unit"]] = row["amount"]
        rows = [self._compared(costs[key], used.get(key, {}), names.get(key, ""), rate_ppm) for key in sorted(costs)]
        return json(views.Comparisons(from_us=span.from_us, to_us=span.to_us, rows=rows))

    def _compared(self, cost: ModelCost, used: dict[Unit, int], name: str, rate_ppm: int) -> views.ComparisonView:
        market = self._controller.market
        units = market.units(name) if name else None
        made = None
        if units is not None:
            made = compare(cost, used, Price(id=name, model=cost.model, units=units), rate_ppm)
        if made is None:
            why = market.problem(name) if name and units is None else "it was not used" if name else "no compare_to"
            return views.ComparisonView(model=cost.model, against=name, why=why, own_nanousd=cost.total_nanousd)
        return views.ComparisonView(
            model=cost.model,
            against=name,
            source=market.source(name),
            own_nanousd=made.own_nanousd,
            elsewhere_nanousd=made.elsewhere_nanousd,
            utilisation_ppm=made.utilisation_ppm,
            break_even_ppm=made.break_even_ppm,
            own_is_cheaper=made.wins,
            cases=self._cases(cost, used, Price(id=name, model=cost.model, units=units or {}), rate_ppm),
        )

    def _cases(self, cost: ModelCost, used: dict[Unit, int], market: Price, rate_ppm: int) -> list[views.CaseView]:
        """What spot, 8 bits and a cheaper device would change; a model that is gone has none."""
        catalog = self._controller.catalog
        model = catalog.model(cost.model)
        pool = catalog.pool(model.pools[0]) if model and model.pools else None
        if model is None or pool is None:
            return []
        requests = max(1, used.get("requests", 0))
        size = (used.get("input_tokens", 0) + used.get("cached_tokens", 0), used.get("output_tokens", 0))
        found = []
        for case in alternatives(model, pool, size[0] // requests, size[1] // requests):
            made = compare(cost, used, market, rate_ppm * case.price_ppm // PPM, case.work_ppm) if case.known else None
            view = views.CaseView(name=case.name, text=case.text)
            if made is not None:
                view = views.CaseView(
                    name=case.name,
                    text=case.text,
                    own_nanousd=made.own_nanousd,
                    break_even_ppm=made.break_even_ppm,
                    own_is_cheaper=made.wins,
                )
            found.append(view)
        return found

    async def verify(self, request: Request) -> Response:
        """Read every entry once, beside the work of the others, and compare with what was noted of the chain."""
        control = self._controller
        await control.bookkeeper.try_to_catch_up()
        heads = control.witness.heads()
        given = request.query_params.get("head", "")
        if given:
            number, _, head = given.partition(":")
            if not (number.isascii() and number.isdigit() and len(number) < 19 and _HASH.fullmatch(head)):
                raise errors.Invalid(
                    f"head is {given[:90]!r}; give NUMBER:HASH as `headrace cost verify` told them", param="head"
                )
            heads[int(number)] = head
        found = await asyncio.to_thread(control.store.audit, heads)
        if found.ok:
            control.witness.note(found.entries, found.head)
        return json(found)

    async def prices(self, request: Request) -> Response:
        """The prices in force, those of the caller's tenant for users."""
        key = request.state.key
        found = [
            price
            for price in self._controller.terms.in_force()
            if key.role == "admin" or price.tenant in ("", key.tenant)
        ]
        return json(views.Prices(prices=found))
