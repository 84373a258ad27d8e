"""The client's side of a connection: reads one request at a time, strictly and within time and size, writes answers.

Knows HTTP and nothing of models: a whole request goes to the worker's `handle`. What a client sends while its request
is at work waits in a bounded buffer; what it does not read stops the reading of the engine.
"""

import asyncio
import time
from typing import Final, Protocol, cast

from headrace.gateway import answers
from headrace.gateway.http1 import HEAD_BYTES_MAX, UPLOAD_BYTES_MAX, UPLOADS, BadHttp, Chunks, Head, parse_head
from headrace.wire.endpoint import body_bytes_max

HEAD_S: Final = 10.0
BODY_BYTES_PER_S_MIN: Final = 1_024
BODY_S_LEAST: Final = 10.0  # before the rate counts
IDLE_S: Final = 120.0
WRITE_STALL_S: Final = 30.0
LINGER_S: Final = 1.0
AHEAD_BYTES_MAX: Final = 64 << 10
WRITE_BUFFER_BYTES: Final = 64 << 10
UPLOAD_BUFFER_BYTES: Final = 128 << 10  # of an upload; twice as much is read before its sender is held


class Work(Protocol):
    """A request at work, as its connection sees it."""

    def client_gone(self) -> None:
        """Nobody reads the answer any more."""
        ...

    def hold(self, paused: bool) -> None:
        """The client reads too slowly, or again."""
        ...


class Handler(Protocol):
    """What the connection needs of its worker. `body_bytes`: of bodies that are being received, all connections."""

    connections: "set[Client]"
    connections_max: int
    body_bytes: int
    stopping: bool

    def greet(self, head: Head) -> bytes:
        """The answer to a request whose body is not worth reading; nothing when it is welcome."""
        ...

    def handle(self, client: "Client", head: Head, body: bytes) -> None:
        """Take one request; the answer goes to `client`, which is told by `finished`."""
        ...


class Client(asyncio.Protocol):
    """One connection of a client. `slow`: it does not read what it is sent. `upload`: a body that is still coming."""

    __slots__ = (
        "_began_s", "_body", "_chunks", "_data", "_head", "_held", "_late", "_left", "_received", "_worker",
        "busy", "closing", "deadline_s", "slow", "transport", "upload", "work",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, worker: Handler) -> None:
        self._worker = worker
        self._data = b""
        self._head: Head | None = None
        self._body: list[bytes] | None = None
        self._chunks: Chunks | None = None
        self._began_s = 0.0
        self._received = self._left = 0
        self._held = False  # more was sent ahead than is kept: its reading waits
        self._late = True  # whether a head has begun and its time runs
        self.busy = self.closing = self.slow = False
        self.work: Work | None = None
        self.upload: asyncio.StreamReader | None = None
        self.deadline_s = 0.0

    # --- what asyncio calls -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so
        if len(self._worker.connections) >= self._worker.connections_max:
            self.closing = True
            self.transport.abort()
            return
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.deadline_s = time.monotonic() + HEAD_S
        self._worker.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self.closing:
            return  # refused already: read on and forget, so that the refusal is not lost to a reset
        if self.upload is not None:
            self._read_upload(self.upload, data)
            return
        if self.busy:
            self._data += data
            self._bound_ahead()
            return
        if self._data:
            data = self._data + data
            self._data = b""
        try:
            if self._chunks is not None:
                self._read_chunks(data)
            elif self._body is not None:
                self._read_body(data)
            elif data:
                self._read_head(data)
        except BadHttp as bad:
            self.refuse(answers.error(bad.code, bad.message, close=True))
        if self.upload is None:
            self._bound_ahead()  # a body may have taken what was held

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has gone."""
        self._worker.connections.discard(self)
        self.closing = True
        self._forget_body()
        if self.upload is not None:
            self.upload.set_exception(ConnectionResetError("the client has gone"))
            self.upload = None
        work, self.work = self.work, None
        if work is not None:
            work.client_gone()

    def pause_writing(self) -> None:
        """The client does not read."""
        self.slow = True
        self.deadline_s = time.monotonic() + WRITE_STALL_S
        if self.work is not None:
            self.work.hold(True)

    def resume_writing(self) -> None:
        """The client reads again."""
        self.slow = False
        if not self.closing:
            self.deadline_s = 0.0 if self.busy else time.monotonic() + IDLE_S
        if self.work is not None:
            self.work.hold(False)

    def eof_received(self) -> bool:
        """Half-closed is closed: nobody would know where the answer ends."""
        return False

    # --- what the worker calls ----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes of an answer."""
        if not self.closing:
            self.transport.write(data)

    def finished(self, *, close: bool = False) -> None:
        """The answer is sent: the next request may come."""
        self.work = None
        self.busy = False
        if self.closing:
            return
        if self.upload is not None:  # answered before all of it came
            self.upload = None
            self.transport.resume_reading()  # what was held back is thrown away like the rest
            self.refuse(b"")
            return
        keep = not close and not self._worker.stopping and self._head is not None and self._head.keep_alive
        self._head = None
        if not keep:
            self.closing = True
            self.deadline_s = time.monotonic() + WRITE_STALL_S
            self.transport.close()
            return
        self._late = False
        if not self.slow:
            self.deadline_s = time.monotonic() + IDLE_S
        self._bound_ahead()
        if self._data:
            # What was sent ahead stays in its place: newer bytes may arrive before this call.
            asyncio.get_running_loop().call_soon(self.data_received, b"")

    def refuse(self, answer: bytes) -> None:
        """Answer and read no further; what still arrives is thrown away for a moment."""
        self.transport.write(answer)
        self.closing = True
        self._forget_body()
        self._data = b""
        self._bound_ahead()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline_s = time.monotonic() + LINGER_S

    @property
    def awaited(self) -> bool:
        """Whether a request is on its way: the first one of who has just come, or one that has begun to arrive."""
        return not (self.busy or self.closing) and (self._late or self._begun)

    @property
    def _begun(self) -> bool:
        return self._head is not None or bool(self._data)

    def dismiss(self, *, newcomers: bool) -> None:
        """The worker ends: close, unless a request is at work or on its way; `newcomers` have waited long enough."""
        if not (self.busy or self.closing or self._begun) and (newcomers or not self._late):
            self.closing = True
            self.transport.close()

    def overdue(self, now_s: float) -> None:
        """Called now and then: end what takes too long."""
        if not self.deadline_s or now_s < self.deadline_s:
            return
        if self.closing or self.busy or self.slow:
            self.transport.abort()
        elif self._head is None and not self._data:
            self.closing = True
            self.transport.close()  # idle
        else:
            self.refuse(answers.error("request_timeout", "the request was not received in time", close=True))

    # --- reading ------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX + 4)
        if end < 0:
            self._await_head(data)
            return
        end += 4
        head = self._head = parse_head(data[:end])
        rest = data[end:]
        length = head.length
        if length and len(rest) == length:  # the whole request and no more, as nearly all come
            self._take(rest)
        elif head.chunked:
            if self._begin(head, rest):
                self._chunks = Chunks(body_bytes_max(head.path))
                self._read_chunks(rest)
        elif not length:
            self._data = rest
            self._take(b"")
        elif len(rest) > length:
            self._data = rest[length:]
            self._take(rest[:length])
        elif not self._begin(head, rest):
            return
        elif head.path == UPLOADS:
            self._left = length
            self._bound_ahead()  # from here on the upload holds its sender
            self.upload = asyncio.StreamReader(UPLOAD_BUFFER_BYTES)
            self.upload.set_transport(self.transport)
            self._take(b"")
            self.data_received(rest)
        else:
            self._body = []
            self._left = length
            self._read_body(rest)

    def _bound_ahead(self) -> None:
        """Read no further while more was sent ahead than is kept."""
        ahead = len(self._data) > AHEAD_BYTES_MAX
        if ahead != self._held:
            self._held = ahead
            (self.transport.pause_reading if ahead else self.transport.resume_reading)()

    def _await_head(self, data: bytes) -> None:
        """Keep what there is of a head."""
        if len(data) > HEAD_BYTES_MAX:
            raise BadHttp("headers_too_large", f"the head is larger than {HEAD_BYTES_MAX >> 10} KiB")
        if b"\n\n" in data or data.startswith((b"\n", b"\r\n\r", b"\r\n\n")):
            raise BadHttp("bad_request", "lines must end in CRLF")
        if data == b"\r\n":
            data = b""  # some clients end a body with a line of its own
        self._data = data
        if not self._late:
            self._late = True
            self.deadline_s = time.monotonic() + HEAD_S

    def _begin(self, head: Head, rest: bytes) -> bool:
        """A body follows its head: is it worth reading?"""
        limit = UPLOAD_BYTES_MAX if head.path == UPLOADS else body_bytes_max(head.path)
        if head.length is not None and head.length > limit:
            raise BadHttp("request_too_large", f"the body has {head.length} bytes; the limit is {limit >> 20} MiB")
        refusal = self._worker.greet(head)
        if refusal:
            self.refuse(refusal)
            return False
        if head.expects and not rest:
            self.transport.write(answers.CONTINUE)
        self._began_s = time.monotonic()
        return True

    def _receive(self, count: int) -> None:
        """Bytes of a body have come: more time for the rest, and more memory held."""
        self._received += count
        self._worker.body_bytes += count
        self.deadline_s = self._began_s + BODY_S_LEAST + self._received / BODY_BYTES_PER_S_MIN

    def _forget_body(self) -> None:
        self._worker.body_bytes -= self._received
        self._received = 0
        self._body = self._chunks = None

    def _read_body(self, data: bytes) -> None:
        assert self._body is not None
        left = self._left - len(data)
        if left < 0:
            self._data = data[left:]
            data = data[:left]
        self._receive(len(data))
        self._body.append(data)
        self._left = left
        if left <= 0:
            body = b"".join(self._body)
            self._forget_body()
            self._take(body)

    def _read_upload(self, upload: asyncio.StreamReader, data: bytes) -> None:
        left = self._left - len(data)
        if left < 0:
            self._data = data[left:]
            data = data[:left]
        upload.feed_data(data)
        self._left = max(left, 0)
        assert self._head is not None
        received = (self._head.length or 0) - self._left
        self.deadline_s = self._began_s + BODY_S_LEAST + received / BODY_BYTES_PER_S_MIN
        if left <= 0:
            upload.feed_eof()
            self.upload = None
            self.deadline_s = 0.0

    def _read_chunks(self, data: bytes) -> None:
        assert self._chunks is not None
        self._receive(len(data))
        whole = self._chunks.feed(data)
        if whole is not None:
            self._forget_body()
            body, self._data = whole
            self._take(body)

    def _take(self, body: bytes) -> None:
        assert self._head is not None
        self.busy = True
        self.deadline_s = 0.0
        self._worker.handle(self, self._head, body)
