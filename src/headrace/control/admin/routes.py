"""Routes as data: path, method, who may, what it answers. A route without a role does not exist."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

Role = Literal["user", "admin"]
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """`summary` and the types make the OpenAPI description. `takes` is the body's type, None for no body."""

    method: str
    path: str
    role: Role
    summary: str
    handler: Handler
    takes: Any = None
    gives: Any = dict[str, Any]


def json(value: Any, status: int = 200) -> Response:
    """An answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
