"""Routes about the cloud as a whole: status, models, what was done and why, and Prometheus metrics."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import __version__
from headrace.control.admin import views
from headrace.control.admin.routes import AdminRoute, Query, json, whole
from headrace.control.controller import Controller
from headrace.control.tables import allowed
from headrace.ports import KeyRecord

_EVENTS: Final = (
    Query("limit", "How many, at most 1000.", "integer"),
    Query("after", "Only those with a larger sequence number, in order.", "integer"),
    Query("subject", "Only those about this replica, key or revision."),
)
_NAMES: Final = Query("names", "headrace or vllm: only metrics of these names; both when not given.")


class Cloud:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1"
        return [
            AdminRoute("GET", f"{at}/status", "user", "The cloud at a glance.", self.status, gives=views.Status),
            AdminRoute("GET", f"{at}/models", "user", "Models and their state.", self.models, gives=views.Models),
            AdminRoute(
                "GET", f"{at}/events", "admin", "What was done and why.", self.events, gives=views.Events, query=_EVENTS
            ),
            AdminRoute("GET", "/metrics", "admin", "Prometheus metrics.", self.metrics, gives=str, query=(_NAMES,)),
        ]  # fmt: skip

    async def status(self, request: Request) -> Response:
        """The cloud at a glance."""
        control, key = self._controller, request.state.key
        await control.bookkeeper.try_to_catch_up()
        mine, admin = self._models(key), key.role == "admin"
        totals = [row for row in control.store.usage_totals() if admin or row["tenant"] == key.tenant]
        seen = views.Status(
            version=__version__,
            listen=control.settings.listen,
            revision=control.declared.revision,
            up_since_us=control.started_us,
            models=mine,
            in_flight=sum(model.in_flight for model in mine),
            queued=sum(model.queued for model in mine),
            requests=sum(row["requests"] for row in totals),
            gateways=[
                views.GatewayView(worker=report.worker, pid=report.pid, connections=report.connections)
                for report in (control.publisher.reports() if admin else ())
            ],
            replicas=[replica for replica in control.loop.fleet.replicas if admin],
            holds=[views.HoldView(model=hold.model, reason=hold.reason) for hold in control.loop.holds if admin],
            problems=control.loop.problems() if admin else [],
            hindsight=self._hindsight() if admin else None,
        )
        return json(seen)

    def _hindsight(self) -> views.HindsightView | None:
        last = self._controller.hindsights.last
        if last is None:
            return None
        return views.HindsightView(**msgspec.structs.asdict(last), ratio_ppm=last.ratio_ppm)

    async def models(self, request: Request) -> Response:
        """Every model version the key may use, and its state."""
        return json(views.Models(models=self._models(request.state.key)))

    def _models(self, key: KeyRecord) -> list[views.ModelView]:
        control, demand = self._controller, self._controller.publisher.demand()
        usable = allowed(key, control.catalog)
        found = []
        for name, model in control.loop.models().items():
            if key.role != "admin" and "*" not in usable and model.name not in usable:
                continue
            spec = control.catalog.model(name)
            assert spec is not None, "both are made from the catalog"
            asked = demand.get(name)
            found.append(
                views.ModelView(
                    name=model.name,
                    version=model.version,
                    task=model.task,
                    engine=spec.engine.kind,
                    state=model.state,
                    fault=model.fault,
                    note=control.preparer.says if control.preparer.busy_with == name else "",
                    weight=model.weight,
                    wake_us=model.wake_us,
                    ready=sum(replica.phase == "ready" for replica in control.loop.fleet.of(name)),
                    min=spec.scaling.min_replicas,
                    max=spec.scaling.max_replicas,
                    in_flight=asked.in_flight if asked else 0,
                    queued=asked.queued if asked else 0,
                    context_tokens=model.context_tokens,
                    memory_bytes=spec.memory_bytes,
                )
            )
        return found

    async def events(self, request: Request) -> Response:
        """What was done and why."""
        self._controller.records.flush()
        found = self._controller.store.decisions(
            limit=whole(request, "limit", 50, 1000),
            subject=request.query_params.get("subject"),
            after=whole(request, "after", 0, 1 << 60),
        )
        return json(views.Events(events=found))

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics."""
        control = self._controller
        await control.bookkeeper.try_to_catch_up()
        text = control.metrics.render(
            control.loop.fleet,
            control.publisher.demand(),
            len(control.publisher.reports()),
            request.query_params.get("names", "all"),
        )
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
