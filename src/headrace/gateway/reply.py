"""An answer on its way to its client: a whole one, or a stream whose head goes out with its first bytes."""

from collections.abc import Callable
from typing import Final, NamedTuple

from headrace.gateway import answers
from headrace.gateway.client import Client
from headrace.gateway.comparison import Heard
from headrace.wire.voice import OPENAI, Voice


class Run(NamedTuple):
    """What a client says of its work: its name (`x-headrace-label`), the most it may cost (`x-headrace-max-cost`), and
    whether it is the turn of an agent, 1 or 0.

    `outlives`: it is finished also when its client hangs up, who will ask for it again by its Idempotency-Key.
    `keeps`: its client is the runner, for whom a large answer is kept until it says that it has it for good.
    """

    label: str = ""
    cap_nanousd: int | None = None
    agent_steps: int = 0
    outlives: bool = False
    keeps: bool = False


UNNAMED: Final = Run()


class Reply:
    """Writes one answer to one client. `headers` are whole lines that every answer to this request carries.

    `voice` words errors as the API that was asked does.
    `kind` is the content type of a good answer; `stream_kind` that of a stream that is not of events. Such a stream has
    no place for words of ours: it is silent until it begins, and where it breaks its connection does.
    `heard` is told all that is said, where the answer is to be compared.
    """

    __slots__ = ("_chunked", "_client", "headers", "heard", "kind", "run", "started", "stream_kind", "voice")

    def __init__(
        self, client: Client, headers: bytes, *, chunked: bool, kind: bytes = b"application/json", run: Run = UNNAMED
    ) -> None:
        self._client = client
        self._chunked = chunked
        self.headers = headers
        self.started = False
        self.kind = kind
        self.stream_kind = b""
        self.voice: Voice = OPENAI
        self.run = run
        self.heard: Heard | None = None

    def events(self, data: bytes) -> None:
        """Bytes of a stream."""
        if self.heard is not None:
            self.heard.event(data)
        framed = answers.chunk(data) if self._chunked and data else data
        if not self.started:
            self.started = True
            kind = self.stream_kind or answers.EVENTS
            framed = answers.stream_head(self.headers, chunked=self._chunked, kind=kind) + framed
        self._client.write(framed)

    def comment(self, words: bytes) -> None:
        """A sign of life to who waits, where there is a place for it."""
        if not self.stream_kind:
            self.events(b": %b\n\n" % words)

    def end_events(self, last: bytes, *, broken: bool) -> None:
        """The last bytes. A broken stream of events ends with an error; the connection of any that broke closes."""
        self.events(last)
        if self.heard is not None:
            self.heard.ended(broken)
        if self._chunked and not (broken and self.stream_kind):
            self._client.write(answers.LAST_CHUNK)
        self._client.finished(close=broken or not self._chunked)

    def keep(self, body: bytes, then: Callable[[], None]) -> None:  # noqa: ARG002 - who keeps none needs none
        """Before a good answer is charged: keep it for who will ask again, then go on."""
        then()

    def whole(self, body: bytes, headers: bytes = b"") -> None:
        """A good answer."""
        if self.heard is not None:
            self.heard.whole(body)
        self._client.write(answers.whole(200, body, self.headers + headers, kind=self.kind))
        self._client.finished()

    def abandoned(self) -> None:
        """Its client has left."""
        if self.heard is not None:
            self.heard.failed()

    def error(self, code: str, message: str, param: str | None = None, headers: bytes = b"") -> None:
        """An error: a whole answer, or the last event of a stream that has begun."""
        if self.started:
            self.end_events(b"" if self.stream_kind else self.voice.event(code, message), broken=True)
            return
        if self.heard is not None:
            self.heard.failed()
        self._client.write(answers.error(code, message, param, self.headers + headers, voice=self.voice))
        self._client.finished()
