"""Answers to requests that go no further: the key, the method, the limit."""

from headrace.errors import HeadraceError, Refused
from headrace.gateway import answers
from headrace.gateway.http1 import Head
from headrace.wire import fault


def unknown_key(headers: bytes, *, close: bool = False) -> bytes:
    """Nobody is known by this key."""
    message = "Incorrect API key provided. Send a key as 'Authorization: Bearer hr-...'; see: headrace key create"
    return answers.error("invalid_api_key", message, headers=headers + b"www-authenticate: Bearer\r\n", close=close)


def wrong_method(head: Head, allowed: bytes, headers: bytes) -> bytes:
    """The path takes another method."""
    message = f"{head.path[:200]} takes {allowed.decode()}, not {head.method.decode()}."
    return answers.error("method_not_allowed", message, headers=headers + b"allow: %b\r\n" % allowed)


def refusal(error: HeadraceError, headers: bytes) -> bytes:
    """An error of ours in the words of the catalogue, and whether to come back."""
    status, body = fault.of(error)
    if isinstance(error, Refused):
        if error.retry_after_us is not None:
            headers += b"retry-after: %d\r\n" % -(-error.retry_after_us // 1_000_000)
        else:
            headers += b"x-should-retry: false\r\n"
    return answers.whole(status, body, headers)
