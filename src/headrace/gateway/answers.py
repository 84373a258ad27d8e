"""Response bytes: heads, whole answers, errors, chunks. Formatting alone; framing is ours, never an engine's."""

from typing import Final

import msgspec

from headrace.gateway import dates
from headrace.wire import fault
from headrace.wire.voice import OPENAI, Voice

REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
EVENTS: Final = b"text/event-stream; charset=utf-8"


def whole(
    status: int, body: bytes, headers: bytes = b"", *, close: bool = False, kind: bytes = b"application/json"
) -> bytes:
    """An answer with its length, JSON if not said otherwise. `headers` are whole lines."""
    connection = b"connection: close\r\n" if close else b""
    return b"HTTP/1.1 %d %b\r\n%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n%b" % (
        status,
        REASONS.get(status, b"Status"),
        dates.line(),
        kind,
        len(body),
        headers,
        connection,
        body,
    )


def bodiless(answer: bytes) -> bytes:
    """The head of a whole answer, for those who asked for nothing else."""
    return answer[: answer.index(b"\r\n\r\n") + 4]


def stream_head(headers: bytes, *, chunked: bool, kind: bytes = EVENTS) -> bytes:
    """The head of a stream, of events if not said otherwise; without chunks it ends with the connection."""
    framing = b"transfer-encoding: chunked\r\n" if chunked else b"connection: close\r\n"
    return b"HTTP/1.1 200 OK\r\n%bcontent-type: %b\r\ncache-control: no-cache\r\n%b%b\r\n" % (
        dates.line(),
        kind,
        framing,
        headers,
    )


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def error(
    code: str,
    message: str = "",
    param: str | None = None,
    headers: bytes = b"",
    *,
    close: bool = False,
    voice: Voice = OPENAI,
) -> bytes:
    """An answer from the catalogue of errors, in the words of the API that was asked."""
    return whole(fault.status(code), voice.body(code, message, param), headers, close=close)


def json(value: object, headers: bytes = b"", *, close: bool = False) -> bytes:
    """A good answer."""
    return whole(200, msgspec.json.encode(value), headers, close=close)
