"""Routes about replicas: which there are, what they printed, their leases, and stopping one."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin import views
from headrace.control.admin.routes import AdminRoute, Query, json, whole
from headrace.control.controller import Controller

LINES_MAX: Final = 1000
_LIMIT: Final = Query("limit", "How many, at most 1000.", "integer")


class Fleets:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        at = "/headrace/v1"
        tail = (Query("tail", "How many lines, at most 1000.", "integer"),)
        return [
            AdminRoute("GET", f"{at}/replicas", "admin", "Every replica.", self.replicas, gives=views.Replicas),
            AdminRoute(
                "GET", f"{at}/replicas/{{id}}/logs", "admin", "The last lines it printed.", self.logs,
                gives=views.Logs, query=tail,
            ),
            AdminRoute(
                "POST", f"{at}/replicas/{{id}}/stop", "admin", "Drain and stop it.", self.stop, gives=views.Stopping
            ),
            AdminRoute(
                "GET", f"{at}/leases", "admin", "Leases, newest first.", self.leases,
                gives=views.Leases, query=(_LIMIT,),
            ),
        ]  # fmt: skip

    async def replicas(self, _request: Request) -> Response:
        """Every replica."""
        return json(views.Replicas(replicas=list(self._controller.loop.fleet.replicas)))

    async def logs(self, request: Request) -> Response:
        """The last lines a replica printed; one that is gone may have left some."""
        name, tail = request.path_params["id"], whole(request, "tail", 200, LINES_MAX)
        try:
            return json(views.Logs(id=name, lines=await self._controller.substrate.logs(name, tail)))
        except errors.Permanent:
            raise self._unknown(name) from None

    async def stop(self, request: Request) -> Response:
        """Drain and stop one replica; asked twice, it stops once."""
        name = request.path_params["id"]
        if not self._controller.loop.knows(name):
            raise self._unknown(name)
        self._controller.stop_replica(name)
        return json(views.Stopping(id=name, stopping=True))

    async def leases(self, request: Request) -> Response:
        """Leases, newest first."""
        self._controller.records.flush()
        limit = whole(request, "limit", 100, LINES_MAX)
        return json(views.Leases(leases=self._controller.store.lease_list(limit=limit)))

    def _unknown(self, name: str) -> errors.Invalid:
        there = ", ".join(replica.id for replica in self._controller.loop.fleet.replicas) or "none"
        return errors.Invalid(f"there is no replica {name[:80]!r}; there are: {there}", code="not_found", status=404)
