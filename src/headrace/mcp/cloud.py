"""The cloud as the holder of one key sees it through its public door: held for, metered and priced like all."""

from typing import Any

import msgspec

from headrace.errors import Unreachable
from headrace.serving.loopback import Answered, Loopback


class Told(Exception):
    """The cloud's own words on why something could not be done."""


class Cloud:
    """One key's."""

    def __init__(self, loopback: Loopback, key: str) -> None:
        self._loopback, self._key = loopback, key

    async def get(self, path: str) -> Any:
        """What is at a path. Raises Told."""
        return _value(await self._send("GET", path, b""))

    async def post(self, path: str, body: dict[str, Any]) -> tuple[Any, dict[str, str]]:
        """What answers, and what it cost: `cost` (USD) and `request`, where there is one. Raises Told."""
        answered = await self._send("POST", path, msgspec.json.encode(body))
        value, headers = _value(answered), answered.headers
        named = {"cost": "x-headrace-cost", "request": "x-request-id"}
        return value, {name: headers[header] for name, header in named.items() if header in headers}

    async def models(self) -> dict[str, list[str]]:
        """Names of the models this key may use, by task. Raises Told."""
        found: dict[str, list[str]] = {}
        for model in (await self.get("/v1/models"))["data"]:
            found.setdefault(model["task"], []).append(model["id"])
        return found

    async def _send(self, method: str, path: str, data: bytes) -> Answered:
        try:
            return await self._loopback.send(method, path, key=self._key, data=data)
        except Unreachable as error:
            raise Told(error.message) from None


def _value(answered: Answered) -> Any:
    try:
        value = msgspec.json.decode(answered.body or b"null")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Told(f"the gateway answered {answered.status} without JSON") from None
    if answered.status == 200:
        return value
    error = value.get("error") if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    raise Told(str(message or f"the gateway answered {answered.status}"))
