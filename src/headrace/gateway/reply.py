"""An answer on its way to its client: a whole one, or a stream whose head goes out with its first bytes."""

from headrace.gateway import answers
from headrace.gateway.client import Client
from headrace.wire import fault


class Reply:
    """Writes one answer to one client. `headers` are whole lines that every answer to this request carries.

    `run` is what its client calls the work (`x-headrace-label`) and the most it may cost (`x-headrace-max-cost`).
    `outlives`: it is finished also when its client hangs up, who will ask for it again by its Idempotency-Key.
    """

    __slots__ = ("_chunked", "_client", "headers", "outlives", "run", "started")

    def __init__(self, client: Client, headers: bytes, *, chunked: bool) -> None:
        self._client = client
        self._chunked = chunked
        self.headers = headers
        self.started = False
        self.run: tuple[str, int | None] = "", None
        self.outlives = False

    def events(self, data: bytes) -> None:
        """Bytes of a stream of events."""
        framed = answers.chunk(data) if self._chunked else data
        if not self.started:
            self.started = True
            framed = answers.stream_head(self.headers, chunked=self._chunked) + framed
        self._client.write(framed)

    def end_events(self, last: bytes, *, broken: bool) -> None:
        """The last events. A broken stream's last one is an error, and its connection closes."""
        self.events(last)
        if self._chunked:
            self._client.write(answers.LAST_CHUNK)
        self._client.finished(close=broken or not self._chunked)

    def whole(self, body: bytes, headers: bytes = b"") -> None:
        """A good answer."""
        self._client.write(answers.whole(200, body, self.headers + headers))
        self._client.finished()

    def abandoned(self) -> None:
        """Its client has left."""

    def error(self, code: str, message: str, param: str | None = None, headers: bytes = b"") -> None:
        """An error: a whole answer, or the last event of a stream that has begun."""
        if self.started:
            self.end_events(fault.event(code, message), broken=True)
            return
        self._client.write(answers.error(code, message, param, self.headers + headers))
        self._client.finished()
