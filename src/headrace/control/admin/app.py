"""The app: every route behind its role, every error in OpenAI's shape, served on the controller's socket."""

import asyncio
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace import errors, telemetry
from headrace.control import keys
from headrace.control.admin import openapi
from headrace.control.admin.accounts import Accounts
from headrace.control.admin.cloud import Cloud
from headrace.control.admin.explain import Explain
from headrace.control.admin.routes import AdminRoute, Handler, json
from headrace.control.controller import Controller
from headrace.ports import KeyRecord

BODY_BYTES_MAX: Final = 1 << 20


def build(controller: Controller) -> Starlette:
    """The ASGI app of one controller."""
    cloud, accounts, explain = Cloud(controller), Accounts(controller), Explain(controller)
    routes: list[AdminRoute] = [*cloud.routes(), *accounts.routes(), *explain.routes()]

    async def description(_request: Request) -> Response:
        return json(openapi.describe(routes))

    routes.append(AdminRoute("GET", "/openapi.json", "user", "This description.", description))
    served = [Route(route.path, _guarded(controller, route), methods=[route.method]) for route in routes]
    handlers = {errors.HeadraceError: _ours, HTTPException: _http, Exception: _unknown}
    return Starlette(routes=served, exception_handlers=handlers)


async def serve(controller: Controller) -> None:
    """Serve until cancelled."""
    socket = controller.settings.admin_socket
    await asyncio.to_thread(socket.unlink, missing_ok=True)
    config = uvicorn.Config(
        build(controller),
        uds=str(socket),
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # signals are the controller's
    await server.serve()


def _guarded(controller: Controller, route: AdminRoute) -> Handler:
    """The route's handler behind its role; the key's record is in `request.state.key`."""

    async def handle(request: Request) -> Response:
        key = _key(controller, request)
        if route.role == "admin" and key.role != "admin":
            raise errors.Refused(
                f"{route.method} {route.path} needs a key of role admin; this one is of role {key.role}.",
                status=403,
                code="permission_denied",
            )
        length = int(request.headers.get("content-length") or 0)
        if length > BODY_BYTES_MAX:
            raise errors.Invalid(
                f"the body has {length} bytes; the limit is {BODY_BYTES_MAX}", code="request_too_large", status=413
            )
        request.state.key = key
        return await route.handler(request)

    return handle


def _key(controller: Controller, request: Request) -> KeyRecord:
    given = request.headers.get("authorization", "")
    text = given[7:].strip() if given[:7].lower() == "bearer " else request.headers.get("x-api-key", "")
    record = keys.proven(controller.store, keys.pepper(controller.settings), text)
    if record is None:
        raise errors.Refused("Incorrect API key provided.", status=401, code="invalid_api_key")
    return record


def _answer(status: int, message: str, kind: str, code: str, param: str | None = None) -> Response:
    return json(errors.openai_error(message, kind=kind, param=param, code=code), status)


async def _ours(_request: Request, error: Exception) -> Response:
    match error:
        case errors.Invalid():
            return _answer(error.status, str(error), "invalid_request_error", error.code, error.param)
        case errors.Refused():
            return _answer(error.status, error.message, "permission_error", error.code)
        case errors.Transient():
            return _answer(503, error.message, "server_error", "storage_unavailable")
        case _:
            return _answer(500, str(error), "server_error", "internal_error")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return _answer(
        error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}", "invalid_request_error", code
    )


async def _unknown(request: Request, error: Exception) -> Response:
    telemetry.logger().error("admin.failed", path=request.url.path, error=repr(error))
    return _answer(500, "The controller made a mistake; it is in its log.", "server_error", "internal_error")
