"""The models of this cloud as a run asks them: through the public door, held for, metered and priced like all traffic.

The runner keeps no key: it acts for a key's holder by a proof made of the pepper and the key's id, so a key that is
revoked is refused from then on. A call that is cancelled closes its connection, which the gateway settles.
"""

import asyncio
from typing import Any, Final

import msgspec

from headrace.errors import Invalid, Refused, Unreachable
from headrace.pipelines.ports import Quote, Said
from headrace.state import keys
from headrace.units import nanousd

BODY_BYTES_MAX: Final = 64 << 20
_TRIES: Final = 5
_STEP: Final = {"x-headrace-agent-step": "1"}


class Gateway:
    """`ports.Models` over HTTP/1.1, one connection a call."""

    def __init__(self, host: str, port: int, pepper: bytes) -> None:
        self._at = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - compared
        self._pepper = pepper

    async def quote(self, key: str, path: str, body: dict[str, Any], *, agent_step: bool = False) -> Quote:
        """See `ports.Models`."""
        more = {"x-headrace-dry-run": "quote", **(_STEP if agent_step else {})}
        status, _, found = await self._send("POST", path, key, body, more)
        if status >= 500 or status == 401:  # 401: a gateway that has just begun has no table yet
            raise Unreachable(f"no quote: the gateway answered {status}")
        if status != 200:
            error = found.get("error", {}) if isinstance(found, dict) else {}
            message, code = str(error.get("message", f"the gateway answered {status}")), str(error.get("code") or "")
            if status in (403, 429):
                raise Refused(message, status=status, code=code)
            raise Invalid(message, status=status, code=code)
        return Quote(nanousd(found["expected"]), nanousd(found["worst_case"]))

    async def send(
        self,
        key: str,
        path: str,
        body: dict[str, Any],
        *,
        once: str,
        label: str,
        cap_nanousd: int,
        agent_step: bool = False,
    ) -> Said:
        """See `ports.Models`."""
        more = {"idempotency-key": once, "x-headrace-label": label, "x-headrace-max-cost": str(cap_nanousd)}
        more |= _STEP if agent_step else {}
        status, headers, found = await self._send("POST", path, key, body, more)
        cost, wait = headers.get("x-headrace-cost"), headers.get("retry-after", "")
        return Said(
            status=status,
            body=found,
            charge_nanousd=nanousd(cost) if cost else None,
            replayed="x-headrace-replayed" in headers,
            request=headers.get("x-headrace-replayed") or headers.get("x-request-id", ""),
            retry_after_us=int(wait) * 1_000_000 if wait.isdigit() else 0,
        )

    async def charge(self, key: str, request: str) -> int | None:
        """See `ports.Models`."""
        for again in range(_TRIES):
            try:
                status, _, found = await self._send("GET", f"/headrace/v1/explain/{request}", key, None, {})
            except Unreachable:
                status, found = 0, None
            if status == 200 and found["kind"] == "request" and "charge_nanousd" in (found.get("request") or {}):
                return int(found["request"]["charge_nanousd"])
            await asyncio.sleep(0.1 * 2**again)
        return None

    async def models(self, key: str) -> set[str]:
        """The models that a key may use. Raises Unreachable."""
        status, _, found = await self._send("GET", "/v1/models", key, None, {})
        if status != 200:
            raise Unreachable(f"the gateway answered {status}")
        return {model["id"] for model in found["data"]}

    async def _send(
        self, method: str, path: str, key: str, body: dict[str, Any] | None, more: dict[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        data = msgspec.json.encode(body) if body is not None else b""
        given = {"host": "headrace", "connection": "close", "authorization": f"Bearer {keys.acting(self._pepper, key)}",
                 "content-type": "application/json", "content-length": str(len(data)), **more}  # fmt: skip
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items())
        try:
            reader, writer = await asyncio.open_connection(*self._at, limit=1 << 16)
            try:
                writer.write(head.encode() + b"\r\n" + data)
                first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
                pairs = (line.partition(":") for line in lines)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                length = int(headers["content-length"])
                if length > BODY_BYTES_MAX:
                    raise Unreachable("the gateway's answer is too large")
                text = await reader.readexactly(length)
            finally:
                writer.close()
            return int(first.split()[1]), headers, msgspec.json.decode(text)
        except (OSError, EOFError, ValueError, KeyError, asyncio.LimitOverrunError) as error:
            raise Unreachable(f"the gateway broke off: {error!r}") from None
