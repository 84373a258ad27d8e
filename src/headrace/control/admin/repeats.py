"""Writes with an Idempotency-Key: done once, answered again for a day, also by the next controller.

The rules are those of generations: the key is bound to tenant, method, path, query and body; the same key with another
body is refused; what came to nothing may be tried again. What a controller died at is done again.
"""

import datetime
import hashlib

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin.routes import Handler, body
from headrace.ports import IDEMPOTENCY_KEY_BYTES_MAX, Clock, Repeat, Repeats


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of an answer."""

    status: int
    body: bytes


class Once:
    """Wraps handlers of writes."""

    def __init__(self, repeats: Repeats, clock: Clock) -> None:
        self._repeats = repeats
        self._clock = clock

    def wrapped(self, handler: Handler) -> Handler:
        """The handler, done once for each key that is sent; called with the caller's record in `request.state.key`."""

        async def handle(request: Request) -> Response:
            given = request.headers.get("idempotency-key")
            if given is None:
                return await handler(request)
            return await self._handled(request, given, handler)

        return handle

    async def _handled(self, request: Request, given: str, handler: Handler) -> Response:
        if not 0 < len(given) <= IDEMPOTENCY_KEY_BYTES_MAX or not (given.isascii() and given.isprintable()):
            raise errors.Invalid(
                f"An Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters; "
                f"this one has {len(given)}.",
                param="Idempotency-Key",
            )
        sent = await body(request)
        what = f"{request.method} {request.url.path}?{request.url.query}"
        name = f"{request.state.key.tenant}\0{what}\0{given}"
        digest = hashlib.sha256(sent).hexdigest()
        now_us = self._clock.now_us()
        moment = datetime.datetime.fromtimestamp(now_us // 1_000_000, datetime.UTC).isoformat()
        known = self._repeats.begin(name, digest, moment, now_us)
        if known is not None:
            return _again(known, digest)
        try:
            answer = await handler(request)
        except BaseException:
            self._repeats.drop(name)
            raise
        kept = msgspec.msgpack.encode(_Answer(answer.status_code, bytes(answer.body)))
        self._repeats.done(name, digest, moment, self._clock.now_us(), kept)
        return answer


def _again(known: Repeat, digest: str) -> Response:
    """The answer that was given. Raises Invalid or Refused."""
    if known.digest and known.digest != digest:
        message = "This Idempotency-Key was used for another request; use a new one for each request."
        raise errors.Invalid(message, param="Idempotency-Key", code="unprocessable", status=422)
    if not known.done:
        message = "A request with this Idempotency-Key is at work; try again in a second."
        raise errors.Refused(message, status=409, code="conflict")
    if known.body is None:
        message = f"This was done at {known.request}, and its answer is not kept."
        raise errors.Refused(message, status=409, code="conflict")
    kept = msgspec.msgpack.decode(known.body, type=_Answer)
    again = {"x-headrace-replayed": known.request}
    return Response(kept.body, kept.status, headers=again, media_type="application/json")
