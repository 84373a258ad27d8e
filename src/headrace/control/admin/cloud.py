"""Routes about the cloud: status, models, replicas, the catalog and its changes, events, metrics."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import __version__, errors
from headrace.control import observer
from headrace.control.admin.routes import AdminRoute, json
from headrace.control.controller import Controller
from headrace.policy import fit
from headrace.specs.catalog import Catalog
from headrace.state.decision import Decision
from headrace.state.fleet import Lease, Replica


class Cloud:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1"
        replicas, leases, events = dict[str, list[Replica]], dict[str, list[Lease]], dict[str, list[Decision]]
        return [
            AdminRoute("GET", f"{at}/status", "user", "The cloud at a glance.", self.status),
            AdminRoute("GET", f"{at}/models", "user", "Every model version and its state.", self.models),
            AdminRoute("GET", f"{at}/replicas", "admin", "Every replica.", self.replicas, gives=replicas),
            AdminRoute("GET", f"{at}/replicas/{{id}}/logs", "admin", "The last lines it printed.", self.logs),
            AdminRoute("POST", f"{at}/replicas/{{id}}/stop", "admin", "Drain and stop one replica.", self.stop),
            AdminRoute("GET", f"{at}/leases", "admin", "Leases, newest first.", self.leases, gives=leases),
            AdminRoute("GET", f"{at}/events", "admin", "What was done and why.", self.events, gives=events),
            AdminRoute("GET", f"{at}/catalog", "admin", "What is wanted.", self.catalog, gives=Catalog),
            AdminRoute("POST", f"{at}/check", "admin", "Check a cloud file.", self.check, takes=str),
            AdminRoute("POST", f"{at}/apply", "admin", "Apply a cloud file, or show what changes.", self.apply, takes=str),
            AdminRoute("GET", "/metrics", "admin", "Prometheus metrics.", self.metrics, gives=str),
        ]  # fmt: skip

    async def status(self, _request: Request) -> Response:
        """The cloud at a glance."""
        control = self._controller
        reports, demand = control.publisher.reports(), control.publisher.demand()
        totals = control.store.usage_totals()
        return json(
            {
                "version": __version__,
                "listen": control.settings.listen,
                "revision": control.catalog.revision,
                "up_since_us": control.started_us,
                "gateways": [{"worker": r.worker, "pid": r.pid, "connections": r.connections} for r in reports],
                "in_flight": sum(found.in_flight for found in demand.values()),
                "queued": sum(found.queued for found in demand.values()),
                "models": self._models(),
                "replicas": [replica for replica in control.fleet.replicas if replica.phase != "stopped"],
                "requests": sum(row["requests"] for row in totals),
                "holds": [{"model": hold.model, "reason": hold.reason} for hold in control.holds],
            }
        )

    async def models(self, _request: Request) -> Response:
        """Every model version and its state."""
        return json({"models": self._models()})

    def _models(self) -> list[dict[str, Any]]:
        control, demand = self._controller, self._controller.publisher.demand()
        found = []
        for key, model in control.models().items():
            spec = control.catalog.model(key)
            assert spec is not None, "both are made from the catalog"
            asked = demand.get(key)
            found.append(
                {
                    "name": model.name,
                    "version": model.version,
                    "task": model.task,
                    "engine": spec.engine.kind,
                    "state": model.state,
                    "fault": model.fault,
                    "weight": model.weight,
                    "wake_us": model.wake_us,
                    "ready": sum(replica.phase == "ready" for replica in control.fleet.of(key)),
                    "min": spec.scaling.min_replicas,
                    "max": spec.scaling.max_replicas,
                    "in_flight": asked.in_flight if asked else 0,
                    "queued": asked.queued if asked else 0,
                    "context_tokens": model.context_tokens,
                    "memory_bytes": spec.memory_bytes,
                }
            )
        return found

    async def replicas(self, _request: Request) -> Response:
        """Every replica."""
        return json({"replicas": self._controller.fleet.replicas})

    async def logs(self, request: Request) -> Response:
        """The last lines a replica printed."""
        name, tail = request.path_params["id"], whole(request, "tail", 200, 1000)
        self._known(name)
        return json({"id": name, "lines": await self._controller.substrate.logs(name, tail)})

    async def stop(self, request: Request) -> Response:
        """Drain and stop one replica."""
        name = request.path_params["id"]
        self._known(name)
        self._controller.stop_replica(name)
        return json({"id": name, "stopping": True})

    def _known(self, name: str) -> None:
        names = [replica.id for replica in self._controller.fleet.replicas]
        if name not in names:
            raise errors.Invalid(
                f"there is no replica {name[:80]!r}; there are: {', '.join(names) or 'none'}",
                code="not_found",
                status=404,
            )

    async def leases(self, request: Request) -> Response:
        """Leases, newest first."""
        return json({"leases": self._controller.store.lease_list(limit=whole(request, "limit", 100, 1000))})

    async def events(self, request: Request) -> Response:
        """What was done and why."""
        found = self._controller.store.decisions(
            limit=whole(request, "limit", 50, 1000),
            subject=request.query_params.get("subject"),
            after=whole(request, "after", 0, 1 << 60),
        )
        return json({"events": found})

    async def catalog(self, _request: Request) -> Response:
        """What is wanted."""
        return json(self._controller.catalog)

    async def check(self, request: Request) -> Response:
        """Whether a cloud file is good and fits this machine."""
        catalog = await self._parsed(request)
        return json({"ok": True, "revision": catalog.revision, "models": [model.key for model in catalog.models]})

    async def apply(self, request: Request) -> Response:
        """The difference; and, unless it is a dry run, from now on this is wanted."""
        from headrace.specs.diff import diff  # with its neighbour below: read only when somebody applies

        control = self._controller
        catalog = await self._parsed(request)
        guard = request.headers.get("if-match", "").strip('"')
        if guard and guard != control.catalog.revision:
            raise errors.Invalid(
                f"the catalog is at revision {control.catalog.revision}, not {guard}; look at the difference again",
                code="conflict",
                status=409,
            )
        changes = diff(control.catalog, catalog)
        dry = request.query_params.get("dry_run", "false") == "true"
        if not dry and changes:
            control.apply(catalog)
        shown = [msgspec.to_builtins(change) for change in changes]
        return json(
            {"revision": catalog.revision, "before": control.catalog.revision, "diff": shown, "applied": not dry}
        )

    async def _parsed(self, request: Request) -> Catalog:
        from headrace.specs.load import load_text  # the YAML reader is 5 MB that an idle cloud need not hold

        text = (await request.body()).decode(errors="strict")
        seen = await self._controller.substrate.devices()
        catalog = await asyncio.to_thread(
            load_text, text, request.query_params.get("filename", "cloud.yaml"), (seen[0].memory_bytes, seen[0].cpus)
        )
        problems = fit.problems(catalog, observer.pooled(catalog, seen))
        for model in catalog.models:
            problems += [f"{model.key}: {p}" for p in self._controller.engines[model.engine.kind].problems(model)]
        if problems:
            raise errors.Invalid("; ".join(problems), code="does_not_fit", status=422)
        return catalog

    async def metrics(self, _request: Request) -> Response:
        """Prometheus metrics."""
        control = self._controller
        control.bookkeeper.try_to_catch_up()
        text = control.metrics.render(control.catalog, control.fleet, control.publisher.demand())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def whole(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the query, within bounds. Raises Invalid."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdigit() or int(text) > most:
        raise errors.Invalid(f"{name} is {text[:40]!r}; give a whole number from 0 to {most}", param=name)
    return int(text)
