"""Routes for the twin: what was asked of the models in a time, how fast their replicas were, and how long they ran."""

import csv
import io
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin.period import moment
from headrace.control.admin.routes import AdminRoute, Query, json
from headrace.control.controller import Controller
from headrace.control.speeds import pool_place
from headrace.economics.booking import cost_nanousd
from headrace.economics.work import WorkModel
from headrace.policy import shadowing
from headrace.units import US_PER_HOUR

ROWS_MAX: Final = 1_000_000
HEADS: Final = ("arrival_s", "input_tokens", "output_tokens", "model", "tenant", "ttft_us", "outcome", "version")
_QUERIES: Final = (
    Query("from", "YYYY-MM-DD, or microseconds since 1970; an hour ago when left out."),
    Query("to", "The same, exclusive; now when left out."),
)


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One model version over a time: what its requests taught, by pool, and what its replicas' time cost.

    `replica_us` is time of all its replicas within the time, `cost_nanousd` what that cost.
    """

    work: dict[str, WorkModel]
    slots: int
    context_tokens: int
    boot_us: int
    replica_us: int
    cost_nanousd: int


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All models, by `name@version`."""

    from_us: int
    to_us: int
    models: dict[str, Ran]


class Histories:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1"
        return [
            AdminRoute(
                "GET", f"{at}/trace", "admin", "Requests of a time, as a trace for the twin.", self.trace,
                gives=str, query=_QUERIES,
            ),
            AdminRoute(
                "GET", f"{at}/history", "admin", "How models ran in a time: speed, starts, cost.", self.history,
                gives=History, query=_QUERIES,
            ),
        ]  # fmt: skip

    async def trace(self, request: Request) -> Response:
        """Chat requests that arrived in the time, oldest first, as CSV; tokens from the prefix cache are left out.
        Remarks before the heading tell how many requests of other tasks there were, and copies for shadows.
        """
        control = self._controller
        await control.bookkeeper.try_to_catch_up()
        from_us, to_us = self._span(request)
        rows: list[tuple[Any, ...]] = []
        others = copies = 0
        for row in control.store.usage_since(from_us, ROWS_MAX):
            if not from_us <= row.arrived_us < to_us or not row.sent_us:
                continue
            if row.tenant == shadowing.TENANT:
                copies += 1
                continue
            if row.task != "chat":
                others += 1
                continue
            ttft_us = row.first_us if row.stream else 0
            size = (max(1, row.input_tokens - row.cached_tokens), row.output_tokens)
            arrival = f"{row.arrived_us / 1_000_000:.6f}"
            rows.append((arrival, *size, row.model, row.tenant, ttft_us, row.outcome, row.version))
        out = io.StringIO()
        out.write(f"# {others} requests of other tasks than chat are left out\n" if others else "")
        out.write(f"# {copies} copies of requests for versions that are only watched are left out\n" if copies else "")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEADS)
        writer.writerows(sorted(rows))
        return Response(out.getvalue(), media_type="text/csv")

    async def history(self, request: Request) -> Response:
        """Speeds as learned up to now; time and cost of the replicas within the time."""
        control = self._controller
        from_us, to_us = self._span(request)
        models = {}
        for model in control.catalog.models:
            if not model.owned:
                continue
            replica_us = cost = 0
            for lease in control.store.leases_since(from_us):
                start_us, end_us = max(lease.started_us, from_us), min(lease.ended_us or to_us, to_us)
                rates = control.terms.rates(lease.pool)
                if f"{lease.model}@{lease.version}" != model.key or end_us <= start_us or not rates:
                    continue
                replica_us += end_us - start_us
                whole = cost_nanousd(rates[-1].nanousd_per_hour, start_us, end_us)
                cost += whole * lease.share_ppm // 1_000_000
            models[model.key] = Ran(
                work={
                    pool.name: control.speeds.at(model.key, pool_place(pool, model.memory_bytes))
                    for pool in control.catalog.pools
                    if pool.name in model.pools
                },
                slots=model.engine.slots,
                context_tokens=model.engine.context_tokens,
                boot_us=control.loop.wake_us(model.key),
                replica_us=replica_us,
                cost_nanousd=cost,
            )
        return json(History(from_us=from_us, to_us=to_us, models=models))

    def _span(self, request: Request) -> tuple[int, int]:
        to_us = moment(request, "to") or self._controller.clock.now_us()
        from_us = moment(request, "from")
        from_us = to_us - US_PER_HOUR if from_us is None else from_us
        if from_us >= to_us:
            raise errors.Invalid("from is not before to; give an earlier from", param="from")
        return from_us, to_us
