"""JSON in and out, and every error as OpenAI's clients expect it."""

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.errors import HeadraceError, Invalid, Refused
from headrace.units import US_PER_S


async def read(request: Request, kind: Any) -> Any:
    """The body as a `kind`; an empty one is `{}`. Raises Invalid."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body cannot be used: {error}", code="invalid_body") from None


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def told(_request: Request, error: Exception) -> Response:
    """The answer to a request that raised an error of ours."""
    assert isinstance(error, HeadraceError)
    status = error.status if isinstance(error, Invalid | Refused) else 503
    code = error.code if isinstance(error, Invalid | Refused) else "unavailable"
    kind = "invalid_request_error" if status < 500 else "server_error"
    param = error.param if isinstance(error, Invalid) else None
    said = answer(errors.openai_error(str(error), kind=kind, code=code, param=param), status)
    if isinstance(error, Refused) and error.retry_after_us is not None:
        said.headers["retry-after"] = str(-(-error.retry_after_us // US_PER_S))
    return said


async def lost(request: Request, error: Exception) -> Response:
    """The answer to a path or a method that is not there."""
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 405:
        allowed = (error.headers or {}).get("allow", "") or (error.headers or {}).get("Allow", "")
        message, code = f"{path} does not take {request.method}; it takes {allowed}", "method_not_allowed"
    else:
        message, code = f"there is nothing at {path}; see docs/api.md", "not_found"
    said = answer(errors.openai_error(message, kind="invalid_request_error", code=code), error.status_code)
    said.headers.update(error.headers or {})
    return said
