"""The models of this cloud as a run asks them, through the public door. See `serving.loopback`."""

import hashlib
from typing import Any, Final

import msgspec

from headrace.errors import Invalid, Refused, Unreachable
from headrace.pipelines.artifacts import Upload
from headrace.pipelines.ports import Charges, Quote, Said
from headrace.ports import SMALL_BYTES_MAX, Repeats, repeat_name
from headrace.serving import asking
from headrace.serving.loopback import Loopback
from headrace.units import nanousd
from headrace.wire import multipart

CONNECTIONS_KEPT: Final = 64  # idle ones, for the next calls
_ROWS: Final = 1_000  # of a page of usage records
_STEP: Final = {"x-headrace-agent-step": "1"}


class Gateway:
    """`ports.Models` over HTTP/1.1: a call that broke off is told, never sent again unasked."""

    def __init__(self, host: str, port: int, pepper: bytes, repeats: Repeats) -> None:
        self._loopback = Loopback(host, port, pepper, keep=CONNECTIONS_KEPT, again=False)
        self._repeats = repeats
        self._large: dict[str, list[tuple[str, str]]] = {}  # by run: path and Idempotency-Key of large answers

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
        if int(headers.get("content-length", "0")) > SMALL_BYTES_MAX:
            self._large.setdefault(label.partition("/")[0], []).append((path, once))
        return Said(
            status=status,
            body=found,
            charge_nanousd=nanousd(cost) if cost else None,
            replayed="x-headrace-replayed" in headers,
            request=headers.get("x-headrace-replayed") or headers.get("x-request-id", ""),
            retry_after_us=int(wait) * 1_000_000 if wait.isdigit() else 0,
        )

    def release(self, tenant: str, run: str) -> None:
        """See `ports.Models`."""
        for path, once in self._large.pop(run, ()):
            self._repeats.release(repeat_name(tenant, path, once))

    async def charge(self, key: str, request: str) -> int | None:
        """See `ports.Models`."""
        return await asking.booked(self._loopback, key, request)

    async def charges(self, key: str, run: str, since_us: int) -> Charges:
        """See `ports.Models`. Raises Unreachable."""
        rows: dict[str, tuple[str, int]] = {}
        until_us = 0
        while True:
            path = f"/headrace/v1/usage?label={run}/&since_us={since_us}&limit={_ROWS}"
            status, _, found = await self._send("GET", path, key, None, {})
            if status != 200:
                raise Unreachable(f"the books are not there: the controller answered {status}")
            page, until_us = found["usage"], until_us or found.get("settled_until_us", 0)
            rows |= {row["request"]: (row["label"].removeprefix(f"{run}/"), row["charge_nanousd"]) for row in page}
            if len(page) < _ROWS or page[-1]["ended_us"] == since_us:
                break
            since_us = page[-1]["ended_us"]
        sums: dict[str, int] = {}
        for call, charge in rows.values():
            sums[call] = sums.get(call, 0) + charge
        return Charges(sums, until_us)

    async def expect(self, key: str, model: str, requests: int, *, within_s: int, label: str) -> None:
        """See `ports.Models`."""
        body = {"model": model, "requests": requests, "within_s": within_s, "label": label}
        await self._send("POST", "/headrace/v1/expect", key, body, {})

    async def models(self, key: str) -> set[str]:
        """The models that a key may use. Raises Unreachable."""
        status, _, found = await self._send("GET", "/v1/models", key, None, {})
        if status != 200:
            raise Unreachable(f"the gateway answered {status}")
        return {model["id"] for model in found["data"]}

    async def _send(
        self, method: str, path: str, key: str, body: dict[str, Any] | None, more: dict[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        data, kind = _written(body)
        answered = await self._loopback.send(method, path, key=key, data=data, headers={"content-type": kind, **more})
        if answered.status == 200 and "json" not in answered.headers.get("content-type", "json"):
            return 200, dict(answered.headers), answered.body
        try:
            return answered.status, dict(answered.headers), msgspec.json.decode(answered.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreachable(f"the gateway broke off: {error!r}") from None


def _written(body: dict[str, Any] | None) -> tuple[bytes, str]:
    """A body and its type: JSON, or a form where a file is in it.

    The boundary follows from the parts, since a call that is sent again must be the same to the byte.
    """
    if body is None:
        return b"", "application/json"
    pairs = [(name, one) for name, value in body.items() for one in (value if isinstance(value, list) else [value])]
    if not any(isinstance(one, Upload) for _, one in pairs):
        return msgspec.json.encode(body), "application/json"
    parts = [
        multipart.Part(name, one.data, one.name) if isinstance(one, Upload) else multipart.Part(name, str(one).encode())
        for name, one in pairs
    ]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.name.encode() + b"\0" + part.data)
    boundary = f"headrace-{digest.hexdigest()[:40]}"
    return multipart.write(parts, boundary.encode()), f"multipart/form-data; boundary={boundary}"
