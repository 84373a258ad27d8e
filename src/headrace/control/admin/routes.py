"""Routes as data: path, method, who may, what it takes and answers; and how a body is read and written.

A route without a role does not exist: the app refuses to start with one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors

BODY_BYTES_MAX: Final = 1 << 20
Role = Literal["user", "admin"]
ROLES: Final = get_args(Role)
Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query:
    """One parameter of the query; `kind` is its JSON type."""

    name: str
    text: str
    kind: str = "string"


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
    query: tuple[Query, ...] = ()


def json(value: Any, status: int = 200) -> Response:
    """An answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def body(request: Request) -> bytes:
    """The whole body. Raises Invalid (413) beyond the limit, however it is framed, having read no more than that."""
    if hasattr(request.state, "body"):  # read before, for its digest
        read: bytes = request.state.body
        return read
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > BODY_BYTES_MAX:
            raise errors.Invalid(
                f"the body is larger than {BODY_BYTES_MAX} bytes; send less", code="request_too_large", status=413
            )
    request.state.body = bytes(data)
    return bytes(data)


async def decoded(request: Request, kind: type[T]) -> T:
    """The JSON body as its type; nothing is taken for an empty object. Raises Invalid."""
    try:
        return msgspec.json.decode(await body(request) or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.Invalid(f"the body cannot be used: {error}", code="invalid_body") from None


async def text(request: Request) -> str:
    """The body as text. Raises Invalid."""
    try:
        return (await body(request)).decode()
    except UnicodeDecodeError as error:
        raise errors.Invalid(f"the body is not UTF-8: byte {error.start} cannot be read", code="invalid_body") from None


def whole(request: Request, name: str, default: int, most: int) -> int:
    """A whole number of the query, within bounds. Raises Invalid."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= 19 and int(given) <= most):
        raise errors.Invalid(f"{name} is {given[:40]!r}; give a whole number from 0 to {most}", param=name)
    return int(given)


def yes(request: Request, name: str) -> bool:
    """A true or false of the query, false when it is not there. Raises Invalid."""
    given = request.query_params.get(name, "false")
    if given not in ("true", "false"):
        raise errors.Invalid(f"{name} is {given[:40]!r}; give true or false", param=name)
    return given == "true"
