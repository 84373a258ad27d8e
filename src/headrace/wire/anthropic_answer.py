"""Answers and errors in the form of Anthropic's Messages API."""

from typing import Any, Final

import msgspec

from headrace import errors
from headrace.wire import fault
from headrace.wire.translate import Block
from headrace.wire.usage import Counts
from headrace.wire.voice import Voice

_STOPS: Final = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_KINDS: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
}  # fmt: skip


def message(request_id: str, model: str) -> dict[str, Any]:
    """A message of which nothing has been said yet. Its tokens are told at its end, when they have been counted."""
    return {
        "id": "msg_" + request_id.removeprefix("req_"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage(Counts()),
    }


def end(finish: str, blocks: list[Block], met: str | None) -> dict[str, str | None]:
    """Why the engine ended, `met` being the stop sequence that it did at. One that does not say which ends the turn."""
    if met is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": met}
    reason = _STOPS.get(finish, "end_turn")
    if finish in ("", "stop") and blocks and blocks[-1].kind == "tool":
        reason = "tool_use"
    return {"stop_reason": reason, "stop_sequence": None}


def content(block: Block, finish: str) -> dict[str, Any]:
    """One block of a whole message. Raises Transient for a call that is not an object, unless it was cut."""
    match block.kind:
        case "tool":
            try:
                given = msgspec.json.decode(block.text or "{}", type=dict[str, Any])
            except (msgspec.MsgspecError, RecursionError):
                if finish != "length":
                    raise errors.Transient("the engine called a tool with arguments that are no object") from None
                given = {}
            return {**begun(block), "input": given}
        case "reasoning":
            return {**begun(block), "thinking": block.text}
        case _:
            return {**begun(block), "text": block.text}


def begun(block: Block) -> dict[str, Any]:
    """The block before there is anything in it."""
    match block.kind:
        case "tool":
            return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": {}}
        case "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case _:
            return {"type": "text", "text": ""}


def usage(counts: Counts) -> dict[str, Any]:
    """`usage`: what was read from the cache stands beside `input_tokens`, not in it."""
    made: dict[str, Any] = {
        "input_tokens": counts.input_tokens - counts.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached_tokens,
        "output_tokens": counts.output_tokens,
    }
    if counts.bill is not None:
        made["headrace"] = counts.bill
    return made


class AnthropicVoice(Voice):
    """Errors of one request, which they name."""

    __slots__ = ("_request_id",)

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self.headers = b"request-id: %b\r\n" % request_id.encode()

    def body(self, code: str, message: str = "", param: str | None = None) -> bytes:
        """See `Voice.body`. There is no place for `param`: the message names it."""
        status, _, default = fault.CATALOGUE.get(code, fault.CATALOGUE["internal_error"])
        kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
        if code in ("overloaded", "deadline_unreachable", "model_unavailable"):
            kind = "overloaded_error"
        elif code == "insufficient_quota":
            kind = "billing_error"
        said = message or default
        if param is not None and param not in said:
            said = f"{param}: {said}"
        error = {"type": kind, "message": said, "code": code}
        return msgspec.json.encode({"type": "error", "error": error, "request_id": self._request_id})

    def event(self, code: str, message: str = "") -> bytes:
        """See `Voice.event`."""
        return b"event: error\ndata: %b\n\n" % self.body(code, message)
