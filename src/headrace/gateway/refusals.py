"""Answers to requests that go no further: the key, the method, the limit."""

from headrace.errors import HeadraceError, Refused
from headrace.gateway import answers
from headrace.gateway.http1 import Head
from headrace.wire import fault
from headrace.wire.endpoint import voice_of
from headrace.wire.voice import OPENAI, Voice


def at_the_door(head: Head, request_id: str, *, full: bool) -> bytes:
    """A body that is not read: its sender is not known, or `full`, too much is being read already."""
    voice = voice_of(head.path, request_id)
    headers = b"x-request-id: %b\r\n%b" % (request_id.encode(), voice.headers)
    if not full:
        return unknown_key(headers, close=True, voice=voice)
    message = "The gateway is receiving as much as it may. Try again in a second."
    return answers.error("overloaded", message, headers=headers + b"retry-after: 1\r\n", close=True, voice=voice)


def ours(head: Head, request_id: str) -> bytes:
    """The gateway made a mistake."""
    voice = voice_of(head.path, request_id)
    headers = b"x-request-id: %b\r\n%b" % (request_id.encode(), voice.headers)
    return answers.error("internal_error", headers=headers, voice=voice)


def unknown_key(headers: bytes, *, close: bool = False, voice: Voice = OPENAI) -> bytes:
    """Nobody is known by this key."""
    message = "Incorrect API key provided. Send a key as 'Authorization: Bearer hr-...'; see: headrace key create"
    headers += b"www-authenticate: Bearer\r\n"
    return answers.error("invalid_api_key", message, headers=headers, close=close, voice=voice)


def wrong_method(head: Head, allowed: bytes, headers: bytes, voice: Voice = OPENAI) -> bytes:
    """The path takes another method."""
    message = f"{head.path[:200]} takes {allowed.decode()}, not {head.method.decode()}."
    headers += b"allow: %b\r\n" % allowed
    return answers.error("method_not_allowed", message, headers=headers, voice=voice)


def nothing_there(head: Head, headers: bytes) -> bytes:
    """There is nothing at the path."""
    message = f"There is nothing at {head.path[:200]}. Served: /v1/chat/completions, /v1/responses, /v1/messages, "
    message += "/v1/completions, /v1/embeddings, /v1/rerank, /v2/rerank, /v1/images/..., /v1/audio/..., /v1/models, ..."
    return answers.error("not_found", message, headers=headers)


def refusal(error: HeadraceError, headers: bytes, voice: Voice = OPENAI) -> bytes:
    """An error of ours in the words of the catalogue, and whether to come back."""
    status, code, message, param = fault.told(error)
    if isinstance(error, Refused):
        if error.retry_after_us is not None:
            headers += b"retry-after: %d\r\n" % -(-error.retry_after_us // 1_000_000)
        else:
            headers += b"x-should-retry: false\r\n"
    return answers.whole(status, voice.body(code, message, param), headers)
