"""Who asks: one extractor, one decision, for every route and every form of the header.

The gateway has let the request through unread; nothing is believed here that is not proven again.
"""

from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin.routes import ROLES, AdminRoute, Handler
from headrace.control.keys import Keyring
from headrace.ports import KeyRecord


def guarded(keyring: Keyring, route: AdminRoute, handler: Handler) -> Handler:
    """A route's handler behind its role; the key's record is in `request.state.key`."""
    if route.role not in ROLES:
        raise ValueError(f"{route.method} {route.path} declares no role")

    async def handle(request: Request) -> Response:
        key = proven(keyring, request)
        if route.role == "admin" and key.role != "admin":
            raise errors.Refused(
                f"{route.method} {route.path} needs a key of role admin; this one is of role {key.role}. "
                "An admin makes one with: headrace key create --role admin",
                status=403,
                code="permission_denied",
            )
        request.state.key = key
        return await handler(request)

    return handle


def proven(keyring: Keyring, request: Request) -> KeyRecord:
    """The valid key of the request. Raises Refused (401)."""
    given = request.headers.get("authorization", "")
    text = given[7:].strip() if given[:7].lower() == "bearer " else request.headers.get("x-api-key", "")
    record = keyring.proven(text)
    if record is None:
        said = "No API key was given" if not text else "The API key is not valid"
        raise errors.Refused(
            f"{said}. Send `Authorization: Bearer hr-...`; the operator's is in the file `credentials` of the home.",
            status=401,
            code="invalid_api_key",
        )
    return record
