"""Who asks: a gateway has proven the client's key, and shows by a proof that it knows the pepper and is one."""

import msgspec
from starlette.requests import Request

from headrace.errors import Refused
from headrace.state import keys


class Caller(msgspec.Struct, frozen=True):
    """The holder of a proven key. `key` is the key's id, never its secret; `role` is `admin`, `member` or the like."""

    key: str
    tenant: str
    role: str


class Door:
    """Lets gateways in and nobody else."""

    def __init__(self, pepper: bytes) -> None:
        self._proof = keys.proof(pepper, keys.RUNNER)

    def caller(self, request: Request) -> Caller:
        """Whose request a gateway passes on. Raises Refused (403)."""
        if not keys.same(request.headers.get("x-headrace-proof", ""), self._proof):
            raise Refused("only a gateway may ask", status=403, code="permission_denied")
        return Caller(*(request.headers[f"x-headrace-{name}"] for name in ("key", "tenant", "role")))
