"""Requests with an Idempotency-Key: done once, answered again from what was kept, whichever worker is asked.

The key is bound to tenant, path and body: the same key with another body is refused. What came to nothing (a failure,
a refusal, a client that left) may be tried again with the same key.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from headrace import telemetry
from headrace.errors import Invalid, Refused
from headrace.gateway import answers
from headrace.gateway.client import Client
from headrace.gateway.reply import UNNAMED, Reply, Run
from headrace.ports import IDEMPOTENCY_KEY_BYTES_MAX, SMALL_BYTES_MAX, Clock, Repeats, repeat_name

RETRY_US: Final = 1_000_000


class Memory(NamedTuple):
    """Where ends of requests are kept, by which clock, and which request this is the end of."""

    repeats: Repeats
    clock: Clock
    request: str


class RememberedReply(Reply):
    """A reply whose end is kept."""

    __slots__ = ("_clock", "_digest", "_name", "_repeats", "_request")

    def __init__(
        self,
        client: Client,
        headers: bytes,
        memory: Memory,
        *,
        chunked: bool,
        kind: bytes,
        run: Run = UNNAMED,
    ) -> None:
        super().__init__(client, headers, chunked=chunked, kind=kind, run=run)
        self._repeats, self._clock, self._request = memory
        self._name = self._digest = ""

    def first(self, given: bytes, tenant: str, path: str, body: bytes) -> bool:
        """Whether this is the first request of its key; when not, it has been answered. Raises Invalid or Refused."""
        if not 0 < len(given) <= IDEMPOTENCY_KEY_BYTES_MAX or not given.isascii():
            raise Invalid(
                f"An Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} ASCII characters; "
                f"this one has {len(given)} bytes.",
                param="Idempotency-Key",
            )
        name = repeat_name(tenant, path, given.decode())
        digest = hashlib.sha256(body).hexdigest()
        known = self._repeats.begin(name, digest, self._request, self._clock.now_us())
        if known is None:
            self._name, self._digest = name, digest
            return True
        if known.digest and known.digest != digest:
            message = "This Idempotency-Key was used for another request; use a new one for each request."
            raise Invalid(message, param="Idempotency-Key", code="unprocessable", status=422)
        if not known.done:
            message = "A request with this Idempotency-Key is at work; try again in a second."
            raise Refused(message, status=409, code="conflict", retry_after_us=RETRY_US)
        if known.body is None:
            message = (
                f"This was done as {known.request}, and its answer is not kept; see: headrace explain {known.request}"
            )
            raise Refused(message, status=409, code="conflict")
        again = b"x-headrace-replayed: %b\r\n" % known.request.encode()
        self._client.write(answers.whole(200, known.body, self.headers + again, kind=self.kind))
        self._client.finished()
        return False

    def keep(self, body: bytes, then: Callable[[], None]) -> None:
        """Kept before it is charged, so that nobody pays for what a killed gateway takes with it.

        A large answer is kept in a thread, since others wait for this one; meanwhile its client may go.
        """
        if len(body) <= SMALL_BYTES_MAX or not self.run.keeps:
            self._keep(body)
            then()
            return
        self.run = self.run._replace(outlives=True)
        kept = asyncio.get_running_loop().run_in_executor(None, self._keep, body)
        kept.add_done_callback(lambda _: then())

    def _keep(self, body: bytes | None) -> None:
        """What cannot be kept is answered all the same: it was paid for."""
        try:
            self._repeats.done(
                self._name, self._digest, self._request, self._clock.now_us(), body, large=self.run.keeps
            )
        except OSError as error:
            telemetry.logger().error("answer.not_kept", request=self._request, error=error.strerror)

    def end_events(self, last: bytes, *, broken: bool) -> None:
        """The end of a stream: that it was done is kept, its text is not."""
        if broken:
            self.abandoned()
        else:
            self._keep(None)
        super().end_events(last, broken=broken)

    def error(self, code: str, message: str, param: str | None = None, headers: bytes = b"") -> None:
        """It came to nothing."""
        self.abandoned()
        super().error(code, message, param, headers)

    def abandoned(self) -> None:
        """Nobody waits for it any more."""
        if self._name:
            self._repeats.drop(self._name)
