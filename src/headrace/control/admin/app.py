"""The app: every route behind its role, every error in OpenAI's shape, served on the controller's socket."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace import errors, telemetry
from headrace.control.admin import auth, openapi
from headrace.control.admin.accounts import Accounts
from headrace.control.admin.budgets import Budgets
from headrace.control.admin.changes import Changes
from headrace.control.admin.cloud import Cloud
from headrace.control.admin.costs import Costs
from headrace.control.admin.explain import Explain
from headrace.control.admin.exports import Exports
from headrace.control.admin.forecast import Forecast
from headrace.control.admin.history import Histories
from headrace.control.admin.organization import Organization
from headrace.control.admin.pools import Pools
from headrace.control.admin.repeats import Once
from headrace.control.admin.replicas import Fleets
from headrace.control.admin.routes import AdminRoute, Handler, json
from headrace.control.admin.versions import Versions
from headrace.control.controller import Controller
from headrace.control.keys import Keyring
from headrace.ports import Repeats


def declared(controller: Controller) -> list[AdminRoute]:
    """Every route there is."""
    nouns = (
        Cloud,
        Changes,
        Fleets,
        Accounts,
        Explain,
        Costs,
        Budgets,
        Exports,
        Forecast,
        Organization,
        Histories,
        Versions,
        Pools,
    )
    routes = [route for noun in nouns for route in noun(controller).routes()]

    async def description(_request: Request) -> Response:
        return json(openapi.describe(routes))

    routes.append(AdminRoute("GET", "/openapi.json", "user", "This description.", description))
    return routes


def build(controller: Controller, repeats: Repeats) -> Starlette:
    """The ASGI app of one controller. Raises ValueError when a route declares no role."""
    handlers = {errors.HeadraceError: _ours, HTTPException: _http, Exception: _unknown}
    routes = served(controller.keyring, declared(controller), Once(repeats, controller.clock))
    return Starlette(routes=routes, exception_handlers=handlers)


def served(keyring: Keyring, routes: Sequence[AdminRoute], once: Once) -> list[Route]:
    """One Starlette route a path, so that a wrong method is told all that are right. Writes are done once a key."""
    paths: dict[str, dict[str, Handler]] = {}
    for route in routes:
        handler = route.handler if route.method == "GET" else once.wrapped(route.handler)
        paths.setdefault(route.path, {})[route.method] = auth.guarded(keyring, route, handler)
    return [Route(path, _by_method(methods), methods=list(methods)) for path, methods in paths.items()]


def _by_method(methods: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return handle


class _Server(uvicorn.Server):
    """Leaves the process's signals to the controller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(controller: Controller, repeats: Repeats) -> None:
    """Serve until cancelled."""
    socket = controller.settings.admin_socket
    await asyncio.to_thread(socket.unlink, missing_ok=True)
    config = uvicorn.Config(
        build(controller, repeats),
        uds=str(socket),
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=256,
    )
    await _Server(config).serve()


def _answer(
    status: int, message: str, *, code: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    kinds = {403: "permission_error", 500: "server_error", 503: "server_error"}
    answer = json(
        errors.openai_error(message, kind=kinds.get(status, "invalid_request_error"), param=param, code=code), status
    )
    answer.headers.update(headers or {})
    return answer


async def _ours(_request: Request, error: Exception) -> Response:
    match error:
        case errors.Invalid():
            return _answer(error.status, str(error), code=error.code, param=error.param)
        case errors.Refused(status=401):
            return _answer(401, error.message, code=error.code, headers={"www-authenticate": "Bearer"})
        case errors.Refused():
            return _answer(error.status, error.message, code=error.code)
        case errors.Transient():
            return _answer(503, error.message, code="storage_unavailable", headers={"retry-after": "1"})
        case errors.Unreachable():
            return _answer(503, str(error), code="unavailable", headers={"retry-after": "1"})
        case _:
            return _answer(500, str(error), code="internal_error")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return _answer(error.status_code, message, code=code, headers=error.headers)


async def _unknown(request: Request, error: Exception) -> Response:
    telemetry.logger().error("admin.failed", path=request.url.path[:200], error=repr(error))
    return _answer(500, "The controller made a mistake; it is in its log.", code="internal_error")
