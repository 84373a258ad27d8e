"""HTTP/1.1 as the gateway takes it: strict, bounded, and nothing that two readers could read in two ways.

Pure: bytes in, facts or a `BadHttp` out. Called by the client connection. Refused on purpose: bare CR or LF, folded
headers, white space before a colon, more than one length, a length beside chunked coding, codings other than chunked.
"""

import re
from typing import Final, NamedTuple

HEAD_BYTES_MAX: Final = 32 << 10
HEADERS_MAX: Final = 100
TARGET_BYTES_MAX: Final = 8 << 10
BODY_BYTES_MAX: Final = 64 << 20  # of any path; each has its own limit below that
UPLOAD_BYTES_MAX: Final = (512 << 20) + (1 << 20)  # a file of the most bytes that are kept, and its form around it
UPLOADS: Final = "/v1/files"  # where a body with a length is passed on while it arrives
_CHUNK_LINE_BYTES_MAX: Final = 256
_CHUNK_LINES_BYTES_MAX: Final = 256 << 10  # framing of one body, beside its bytes
_CACHED_HEADS_MAX: Final = 1_024
_CACHED_HEAD_BYTES_MAX: Final = 2_048

_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/1\.([01])")
# One quantifier a side: two that can match the same byte would try each way to share a long run of spaces.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~]*)?")


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
        name, value = field[1].lower(), field[2].strip(b" \t")
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
    host = headers.get(b"host")
    if host is None:
        if minor:
            raise BadHttp("bad_request", "HTTP/1.1 needs a Host header")
    elif _HOST.fullmatch(host) is None:
        raise BadHttp("bad_request", "the Host header is not a host")
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
        most = UPLOAD_BYTES_MAX if path == UPLOADS.encode() else BODY_BYTES_MAX
        if size > most:
            raise BadHttp("request_too_large", f"the body has {size} bytes; the limit is {most >> 20} MiB")
    wishes = {wish.strip(b" \t") for wish in headers.get(b"connection", b"").lower().split(b",")}
    keep_alive = b"close" not in wishes if minor else b"keep-alive" in wishes
    expects = headers.get(b"expect", b"").lower() == b"100-continue"
    return Head(method, path.decode("ascii"), query, headers, keep_alive, size, coding is not None, expects, minor)


class Chunks:
    """Decodes a chunked body of bounded size, in time that grows with its bytes and not with their pieces."""

    __slots__ = ("_body", "_framing", "_last", "_left", "_limit", "_rest")

    def __init__(self, limit: int = BODY_BYTES_MAX) -> None:
        self._limit = limit
        self._body = bytearray()
        self._framing = 0
        self._rest = b""
        self._left = 0  # of the chunk at hand, the CRLF after it included; 0 between chunks
        self._last = False

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The whole body and what follows it once it has ended, else None. Raises BadHttp."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                at = self._piece(data, at)
                continue
            end = data.find(b"\r\n", at, at + _CHUNK_LINE_BYTES_MAX)
            if end < 0:
                if size - at >= _CHUNK_LINE_BYTES_MAX:
                    raise BadHttp("bad_request", "a chunk's first line is too long")
                self._rest = data[at:]
                return None
            if self._last:
                if end != at:
                    raise BadHttp("bad_request", "trailers are not taken")
                return bytes(self._body), data[end + 2 :]
            self._begin(data[at:end])
            at = end + 2
        return None

    def _begin(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadHttp("bad_request", "a chunk size is malformed")
        length = int(match[1], 16)
        self._framing += len(line) + 4
        if len(self._body) + length > self._limit or self._framing > _CHUNK_LINES_BYTES_MAX:
            raise BadHttp("request_too_large", f"the body is larger than the limit of {self._limit >> 20} MiB")
        self._last = not length
        self._left = length + 2 if length else 0

    def _piece(self, data: bytes, at: int) -> int:
        """Take what there is of the chunk at hand; where the next unread byte is."""
        if self._left > 2:
            end = min(len(data), at + self._left - 2)
            self._body += data[at:end]
            self._left -= end - at
            return end
        if data[at] != (0x0D if self._left == 2 else 0x0A):
            raise BadHttp("bad_request", "a chunk is longer than it says")
        self._left -= 1
        return at + 1
