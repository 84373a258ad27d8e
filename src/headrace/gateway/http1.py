"""HTTP/1.1 as the gateway takes it: strict, bounded, and nothing that two readers could read in two ways.

Pure: bytes in, facts or a `BadHttp` out. Called by the client connection. Refused on purpose: bare CR or LF, folded
headers, white space before a colon, more than one length, a length beside chunked coding, codings other than chunked.
"""

import re
from typing import Final, NamedTuple

HEAD_BYTES_MAX: Final = 32 << 10
HEADERS_MAX: Final = 100
TARGET_BYTES_MAX: Final = 8 << 10
BODY_BYTES_MAX: Final = 16 << 20
_CHUNK_LINE_BYTES_MAX: Final = 256
_CACHED_HEADS_MAX: Final = 1_024
_CACHED_HEAD_BYTES_MAX: Final = 2_048

_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~]*)?")


class BadHttp(Exception):
    """What came is not a request this gateway reads. `code` is of the catalogue of errors; the connection closes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Head(NamedTuple):
    """A request's head. `length` is None when there is no body or it is chunked. Header names are lower case."""

    method: bytes
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    keep_alive: bool
    length: int | None
    chunked: bool
    expects: bool
    minor: int


_cache: dict[bytes, Head] = {}


def parse_head(block: bytes) -> Head:
    """A head up to and including its empty line. Heads seen before are not parsed again."""
    known = _cache.get(block)
    if known is not None:
        return known
    head = _parse(block)
    if len(block) <= _CACHED_HEAD_BYTES_MAX:
        if len(_cache) >= _CACHED_HEADS_MAX:
            _cache.clear()
        _cache[block] = head
    return head


def _parse(block: bytes) -> Head:
    lines = block[:-4].split(b"\r\n")
    match = _LINE.fullmatch(lines[0])
    if match is None:
        raise BadHttp("bad_request", "the first line is not METHOD TARGET HTTP/1.1")
    method, target, minor = match[1], match[2], int(match[3])
    if len(target) > TARGET_BYTES_MAX:
        raise BadHttp("uri_too_long", f"the target has {len(target)} bytes; the limit is {TARGET_BYTES_MAX}")
    if len(lines) - 1 > HEADERS_MAX:
        raise BadHttp("headers_too_large", f"{len(lines) - 1} headers; the limit is {HEADERS_MAX}")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise BadHttp("bad_request", "a header line is malformed (bare CR or LF, folding, or a forbidden byte)")
        name, value = field[1].lower(), field[2].rstrip(b" \t")
        if name in headers:
            if name in _ONCE:
                raise BadHttp("bad_request", f"the header {name.decode()} stands twice")
            value = headers[name] + b", " + value
        headers[name] = value
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        raise BadHttp("bad_request", "the target is not a path")
    return _framed(method, path, query, headers, minor)


_ONCE: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key", b"content-type"}
)


def _framed(method: bytes, path: bytes, query: bytes, headers: dict[bytes, bytes], minor: int) -> Head:
    """How the body ends, without a second reading of it."""
    if b"host" not in headers and minor:
        raise BadHttp("bad_request", "HTTP/1.1 needs a Host header")
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise BadHttp("bad_request", "a Content-Length beside a Transfer-Encoding")
        if not minor:
            raise BadHttp("bad_request", "HTTP/1.0 has no Transfer-Encoding")
        if coding.lower() != b"chunked":
            raise BadHttp("not_implemented", "the only transfer coding is chunked")
    size = None
    if length is not None:
        if _NUMBER.fullmatch(length) is None:
            raise BadHttp("bad_request", "Content-Length is not a number")
        size = int(length)
        if size > BODY_BYTES_MAX:
            raise BadHttp("request_too_large", f"the body has {size} bytes; the limit is {BODY_BYTES_MAX >> 20} MiB")
    connection = headers.get(b"connection", b"").lower()
    keep_alive = b"close" not in connection if minor else b"keep-alive" in connection
    expects = headers.get(b"expect", b"").lower() == b"100-continue"
    return Head(method, path.decode("ascii"), query, headers, keep_alive, size, coding is not None, expects, minor)


class Chunks:
    """Decodes a chunked body of bounded size."""

    __slots__ = ("_left", "_parts", "_rest", "_size", "_trailer")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._rest = b""
        self._left = 0
        self._size = 0
        self._trailer = False

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The whole body and what follows it once it has ended, else None."""
        data = self._rest + data if self._rest else data
        while True:
            if self._left > 0:
                taken = data[: self._left]
                self._parts.append(taken)
                self._left -= len(taken)
                data = data[len(taken) :]
                if self._left:
                    self._rest = b""
                    return None
                self._left = -2  # its CRLF is still to come
            if self._left == -2:
                if len(data) < 2:
                    self._rest = data
                    return None
                if data[:2] != b"\r\n":
                    raise BadHttp("bad_request", "a chunk is longer than it says")
                data, self._left = data[2:], 0
            end = data.find(b"\r\n")
            if end < 0:
                if len(data) > _CHUNK_LINE_BYTES_MAX:
                    raise BadHttp("bad_request", "a chunk's first line is too long")
                self._rest = data
                return None
            line, data = data[:end], data[end + 2 :]
            if self._trailer:
                if line:
                    raise BadHttp("bad_request", "trailers are not taken")
                return b"".join(self._parts), data
            match = _SIZE.fullmatch(line)
            if match is None:
                raise BadHttp("bad_request", "a chunk size is malformed")
            self._left = int(match[1], 16)
            self._size += self._left
            if self._size > BODY_BYTES_MAX:
                raise BadHttp("request_too_large", f"the body is larger than the limit of {BODY_BYTES_MAX >> 20} MiB")
            self._trailer = self._left == 0
