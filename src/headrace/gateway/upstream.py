"""The engine's side: one connection to one replica, read strictly and within bounds; and the pool of idle ones.

An engine is not trusted: its heads and framing are checked, its words reach nobody from here. Whoever uses a
connection is told of the head, of body bytes, and of the end or the loss. A connection that is given up is closed,
which is what frees the engine's slot.
"""

import asyncio
import re
import ssl
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

from headrace.state.table import RouteReplica

HEAD_BYTES_MAX: Final = 16 << 10
CONNECT_S: Final = 2.0
END_S: Final = 1.0  # for the framing after an answer's last event
IDLE_CONNECTIONS_MAX: Final = 256
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?")
_VERSION: Final = b"HTTP/1."
_LENGTH: Final = re.compile(rb"\r\ncontent-length:([^\r\n]*)")
_CODING: Final = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)")
_NUMBER: Final = re.compile(rb"[0-9]{1,12}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t -~]*)?")
_CHUNK_LINE_BYTES_MAX: Final = 128
_HEADS_KNOWN_MAX: Final = 256


HEAD, SIZED, CHUNKED, OPEN = range(4)  # what a connection reads: a head, or a body by how it ends


class User(Protocol):
    """Who a connection works for."""

    def upstream_head(self, status: int, events: bool) -> None:
        """The status, and whether a stream of events follows."""
        ...

    def upstream_data(self, data: bytes) -> None:
        """Body bytes, framing removed."""
        ...

    def upstream_end(self) -> None:
        """The body has ended as it said it would."""
        ...

    def upstream_lost(self, reason: str, heard: bool) -> None:
        """The connection broke or spoke nonsense; `heard` is whether any byte had come."""
        ...


class _Nobody:
    """Takes the end of an answer whose user has all it needs."""

    def upstream_head(self, status: int, events: bool) -> None: ...
    def upstream_data(self, data: bytes) -> None: ...
    def upstream_end(self) -> None: ...
    def upstream_lost(self, reason: str, heard: bool) -> None: ...


class Upstream(asyncio.Protocol):
    """One connection to one replica."""

    __slots__ = (
        "_data",
        "_heard",
        "_left",
        "_pool",
        "_state",
        "reusable",
        "reused",
        "transport",
        "user",
    )

    transport: asyncio.Transport

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._data = b""
        self._state = HEAD
        self._left = 0
        self._heard = False
        self.user: User | None = None
        self.reused = False
        self.reusable = True

    def send(self, user: User, data: bytes) -> None:
        """Work for `user`: send its request."""
        self.user = user
        self._state = HEAD
        self._heard = False
        self.transport.write(data)

    def give_up(self) -> None:
        """The answer is not wanted any more: close, so that the engine stops."""
        self.user = None
        self.transport.abort()

    def await_end(self) -> None:
        """The answer is complete but for its framing: read that, and the connection may be used again."""
        nobody = self.user = _Nobody()
        if not self.transport.is_closing():
            self.transport.resume_reading()
        asyncio.get_running_loop().call_later(END_S, self._end_overdue, nobody)

    def _end_overdue(self, nobody: "_Nobody") -> None:
        if self.user is nobody:
            self.give_up()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Bytes from the engine."""
        user = self.user
        if user is None:
            self.transport.abort()  # it speaks without being asked
            return
        self._heard = True
        try:
            if self._state == HEAD:
                data = self._head(user, self._data + data if self._data else data)
            if data:
                if self.user is not user:
                    raise ValueError("the engine sent more than it said")
                if self._state == SIZED:
                    self._sized(user, data)
                elif self._state == CHUNKED:
                    self._chunks(user, data)
                else:
                    user.upstream_data(data)
        except ValueError as nonsense:
            self._lose(str(nonsense))

    def connection_lost(self, error: Exception | None) -> None:
        """The engine closed, or died."""
        self._pool.forget(self)
        user, self.user = self.user, None
        if user is None:
            return
        if self._state == OPEN and error is None:
            user.upstream_end()
        else:
            user.upstream_lost("the connection to the replica broke", self._heard)

    def _head(self, user: User, data: bytes) -> bytes:
        """Read the head of the answer, past interim ones; what follows it. Raises ValueError."""
        self._data = b""
        while True:
            end = data.find(b"\r\n\r\n")
            if end > HEAD_BYTES_MAX or (end < 0 and len(data) > HEAD_BYTES_MAX):
                raise ValueError("the head of the engine's answer is too large")
            if end < 0:
                if not data.startswith(_VERSION[: len(data)]):
                    raise ValueError("the engine's answer is not HTTP")  # it may send no more: do not wait for that
                self._data = data
                return b""
            status, state, length, reusable, events = _read_head(data[: end + 2])
            data = data[end + 4 :]
            if status >= 200:
                break
        self._state, self._left, self.reusable = state, length, reusable
        user.upstream_head(status, events)
        if state == SIZED and not length and self.user is user:
            self._finish(user)
        return data

    def _sized(self, user: User, data: bytes) -> None:
        left = self._left = self._left - len(data)
        if left < 0:
            raise ValueError("the engine sent more than it said")
        user.upstream_data(data)
        if not left and self.user is not None:
            self._finish(self.user)

    def _chunks(self, user: User, data: bytes) -> None:
        """Take the framing off. `_left` is what is still to come of the chunk at hand, its CRLF included."""
        if self._data:
            data = self._data + data
            self._data = b""
        at, size, parts, ended = 0, len(data), [], False
        while at < size:
            if self._left > 2:
                piece = data[at : at + self._left - 2]
                parts.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif self._left:
                if data[at] != (0x0D if self._left == 2 else 0x0A):
                    raise ValueError("a chunk of the engine's answer is longer than it says")
                at += 1
                self._left -= 1
            else:
                end = data.find(b"\r\n", at, at + _CHUNK_LINE_BYTES_MAX)
                match = _CHUNK.fullmatch(data, at, end) if end >= 0 else None
                if match is None and (end >= 0 or size - at >= _CHUNK_LINE_BYTES_MAX):
                    raise ValueError("a chunk size in the engine's answer is malformed")
                length = int(match[1], 16) if match else 0
                if match is None or (not length and size < end + 4):
                    self._data = data[at:]
                    break
                if not length:
                    ended = True
                    self.reusable = self.reusable and data[end + 2 :] == b"\r\n"  # no trailers, nothing after
                    break
                at, self._left = end + 2, length + 2
        if parts:
            user.upstream_data(parts[0] if len(parts) == 1 else b"".join(parts))
        if ended and self.user is not None:
            self._finish(self.user)

    def _finish(self, user: User) -> None:
        self.user = None
        self._data = b""
        if self.reusable:
            self._pool.give(self)
        else:
            self.transport.close()
        user.upstream_end()

    def _lose(self, reason: str) -> None:
        user, self.user = self.user, None
        self.transport.abort()
        if user is not None:
            user.upstream_lost(reason, True)


class _Head(NamedTuple):
    """What the head of an answer says: the status, how the body ends, and what it is."""

    status: int
    state: int
    length: int
    reusable: bool
    events: bool


@lru_cache(maxsize=_HEADS_KNOWN_MAX)  # an engine's heads are few, and each is at most HEAD_BYTES_MAX
def _read_head(block: bytes) -> _Head:
    """A head, from its first line to its last CRLF. One that says in two ways how it ends raises ValueError."""
    match = _STATUS.match(block)
    if match is None:
        raise ValueError("the engine's answer is not HTTP")
    status, head = int(match[1]), block.lower()
    if status < 200:
        return _Head(status, HEAD, 0, True, False)
    reusable = b"\r\nconnection: close" not in head and head.startswith(b"http/1.1")
    events = b"\r\ncontent-type: text/event-stream" in head
    codings, lengths = _CODING.findall(head), {length.strip(b" \t") for length in _LENGTH.findall(head)}
    if codings:
        if lengths or codings[1:] or codings[0].strip(b" \t") != b"chunked":
            raise ValueError("the engine's answer has a framing of two kinds")
        return _Head(status, CHUNKED, 0, reusable, events)
    if lengths:
        length = lengths.pop()
        if lengths or _NUMBER.fullmatch(length) is None:
            raise ValueError("the length of the engine's answer is not a number")
        return _Head(status, SIZED, int(length), reusable, events)
    return _Head(status, OPEN, 0, False, events)


class Pool:
    """Connections to one incarnation of one replica; idle ones are taken last in, first out."""

    def __init__(self, replica: RouteReplica) -> None:
        self.replica = replica
        self._idle: list[Upstream] = []
        self._secure: ssl.SSLContext | None = None
        url = urlsplit(replica.address if "://" in replica.address else "")
        self._url = url
        bearer = f"authorization: Bearer {replica.api_key}\r\n" if replica.api_key else ""
        self._prefix = url.path.rstrip("/")
        self._lines = f" HTTP/1.1\r\nhost: {url.netloc or 'engine'}\r\n{bearer}".encode()
        self._heads: dict[str, bytes] = {}  # up to the length, by path, of bodies in JSON

    def take(self) -> Upstream | None:
        """An idle connection."""
        while self._idle:
            upstream = self._idle.pop()
            if not upstream.transport.is_closing():
                upstream.reused = True
                return upstream
        return None

    async def connect(self) -> Upstream:
        """A new connection. Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        made: tuple[asyncio.BaseTransport, Upstream]
        async with asyncio.timeout(CONNECT_S):
            if self.replica.address.startswith("unix:"):
                path = self.replica.address.removeprefix("unix:")
                made = await loop.create_unix_connection(lambda: Upstream(self), path)
            else:
                if self._url.scheme == "https" and self._secure is None:
                    self._secure = ssl.create_default_context()  # reads the system's certificates: once a replica
                port = self._url.port or (443 if self._secure else 80)
                host = self._url.hostname or ""
                made = await loop.create_connection(lambda: Upstream(self), host, port, ssl=self._secure)
        return made[1]

    def request(self, path: str, body: bytes, content_type: bytes = b"") -> bytes:
        """The bytes of a request to this replica; nothing of the client's head is in it. JSON if not said otherwise."""
        head = self._heads.get(path) if not content_type else None
        if head is None:
            kind = content_type or b"application/json"
            at = self._prefix.encode() + path.encode()
            head = b"POST %b%bcontent-type: %b\r\ncontent-length: " % (at, self._lines, kind)
            if not content_type:
                self._heads[path] = head  # our own paths, which are few
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    def bare(self, method: str, path: str) -> bytes:
        """The bytes of a request without a body."""
        return f"{method} {self._prefix}{path}".encode() + self._lines + b"\r\n"

    def give(self, upstream: Upstream) -> None:
        """A connection is idle again."""
        if len(self._idle) < IDLE_CONNECTIONS_MAX:
            self._idle.append(upstream)
        else:
            upstream.transport.close()

    def forget(self, upstream: Upstream) -> None:
        """A connection has ended."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def close(self) -> None:
        """The replica is gone: its idle connections with it; those at work end by themselves."""
        for upstream in self._idle:
            upstream.transport.close()
        self._idle.clear()
