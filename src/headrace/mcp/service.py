"""`/mcp`: streamable HTTP without sessions. Each message is answered by itself, so any gateway may take the next.

There is nothing to listen to: GET, which would open a stream of the server's own messages, is refused (405), as is
DELETE of a session, because there is none.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace import ports
from headrace.mcp import envelope, jsonrpc, tools
from headrace.mcp.cloud import Cloud, Told
from headrace.mcp.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, Failed, Message
from headrace.serving.caller import Door
from headrace.serving.loopback import Loopback

T = TypeVar("T")

_CAPABILITIES: Final = {"tools": {"listChanged": False}}
_ABOUT: Final = (
    "Models, pipelines and the books of a Headrace cloud. What a tool cost stands in its result; `explain` tells why a "
    "request went where it went."
)


class _Called(msgspec.Struct):
    name: str
    arguments: dict[str, Any] | None = None


class _Hello(msgspec.Struct):
    protocolVersion: str  # noqa: N815 - the protocol's name


class Service:
    """`serving.Part`."""

    def __init__(self, loopback: Loopback, door: Door, clock: ports.Clock) -> None:
        self._loopback, self._door, self._clock = loopback, door, clock

    async def begin(self) -> None:
        """Nothing was at work."""

    async def stop(self) -> None:
        """Nothing is kept."""

    def routes(self) -> Sequence[Route]:
        """Its path."""
        return [Route("/mcp", self.message, methods=["POST"])]

    async def message(self, request: Request) -> Response:
        """One message of a client."""
        cloud = Cloud(self._loopback, self._door.caller(request).key)
        to: jsonrpc.Id = None
        enveloped = False
        try:
            enveloped = envelope.modern(request.headers)
            message = jsonrpc.read(await request.body())
            if not message.wants_answer:
                return Response(status_code=202)
            to = message.asked
            if enveloped:
                envelope.check(message, request.headers)
            result = await self._answer(message, cloud)
            if enveloped:
                result = envelope.wrapped(message.method, result, _info())
            return _json(jsonrpc.result(to, result))
        except Failed as failed:
            return _json(jsonrpc.failure(to, failed), envelope.status(failed, enveloped=enveloped))

    async def _answer(self, message: Message, cloud: Cloud) -> dict[str, Any]:
        now_us = self._clock.now_us()
        match message.method:
            case "initialize":
                return _hello(_params(message, _Hello).protocolVersion)
            case "server/discover":
                return {"supportedVersions": [envelope.VERSION], "capabilities": _CAPABILITIES, "instructions": _ABOUT}
            case "ping":
                return {}
            case "tools/list":
                try:
                    return {"tools": [tool.listed() for tool in await tools.offered(cloud, now_us)]}
                except Told as error:
                    raise Failed(INTERNAL_ERROR, str(error)) from None
            case "tools/call":
                called = _params(message, _Called)
                return await tools.call(cloud, called.name, called.arguments or {}, now_us)
            case other:
                known = "initialize, server/discover, ping, tools/list, tools/call"
                raise Failed(METHOD_NOT_FOUND, f"there is no method {str(other)[:64]!r}; there are: {known}")


def _hello(asked: str) -> dict[str, Any]:
    """The version that the client asked for, or the newest there is here; then it decides whether to go on."""
    return {
        "protocolVersion": asked if asked in envelope.HANDSHAKES else envelope.HANDSHAKES[0],
        "capabilities": _CAPABILITIES,
        "serverInfo": _info(),
        "instructions": _ABOUT,
    }


def _info() -> dict[str, str]:
    return {"name": "headrace", "title": "Headrace", "version": version("headrace")}


def _params(message: Message, kind: type[T]) -> T:
    try:
        return msgspec.convert(message.params, kind)
    except msgspec.ValidationError as error:
        raise Failed(INVALID_PARAMS, f"the params of {message.method} cannot be used: {error}") from None


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
