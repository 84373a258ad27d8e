"""Whole answers of engines, as clients shall see them: OpenAI's fields, all of the required ones, none of others.

Called by the endpoints' `finish`. Pure: ids come from the request id, moments from the engine or the caller.
"""

import hashlib
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from headrace import errors
from headrace.wire.usage import Counts, Figures, counts_from

T = TypeVar("T")

NULL: Final = Raw(b"null")  # `Raw | None` would decode null alone
_PIECE: Final = 24  # characters of a piece when a whole answer is sent as a stream


class Message(msgspec.Struct):
    """The message of a choice; `content` and `refusal` are always there."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[Raw] | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET


class Logprobs(msgspec.Struct):
    """Log probabilities of a chat choice; both keys are always there."""

    content: Raw = NULL
    refusal: Raw = NULL


class Choice(msgspec.Struct):
    """A choice of a chat answer; `logprobs` is always there."""

    message: Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatAnswer(msgspec.Struct, kw_only=True):
    """A chat completion."""

    id: str | None = None
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice]
    usage: Any = UNSET
    system_fingerprint: str | UnsetType | None = UNSET


class TextChoice(msgspec.Struct):
    """A choice of a text completion."""

    text: str
    index: int = 0
    finish_reason: str | None = None
    logprobs: Raw = NULL


class TextAnswer(msgspec.Struct, kw_only=True):
    """A text completion."""

    id: str | None = None
    object: str = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[TextChoice]
    usage: Any = UNSET
    system_fingerprint: str | UnsetType | None = UNSET


_CHAT: Final = msgspec.json.Decoder(ChatAnswer)
_TEXT: Final = msgspec.json.Decoder(TextAnswer)


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """An engine's body; Transient when it is not what it should be."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise errors.Transient("the engine gave an answer that is not valid") from None


class _Listed(msgspec.Struct):
    content: list[Raw]


class _Counted(msgspec.Struct):
    finish_reason: str | None = None
    logprobs: _Listed | None = None


class _CountedAnswer(msgspec.Struct):
    choices: list[_Counted]


_COUNTED: Final = msgspec.json.Decoder(_CountedAnswer)


def tokens_out(body: bytes) -> int | None:
    """Tokens over all choices of llama.cpp's answer, by their log probabilities; None when one has none.

    A choice that ended by itself has one more, its end, which is counted like the engine counts it.
    """
    try:
        choices = _COUNTED.decode(body).choices
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    total = 0
    for choice in choices:
        if choice.logprobs is None:
            return None
        total += len(choice.logprobs.content) + (choice.finish_reason == "stop")
    return total


def chat(body: bytes, model: str, request_id: str, counts: Counts | None) -> ChatAnswer:
    """A chat answer read strictly and named as the client asked."""
    answer = decode(_CHAT, body)
    _name(answer, model, request_id, "chatcmpl", counts)
    for choice in answer.choices:
        choice.finish_reason = choice.finish_reason or "stop"
        choice.message.role = "assistant"
        if not choice.message.tool_calls:
            choice.message.tool_calls = UNSET
        if choice.message.reasoning_content is None:
            choice.message.reasoning_content = UNSET
    answer.object = "chat.completion"
    return answer


def text(body: bytes, model: str, request_id: str, counts: Counts | None) -> TextAnswer:
    """A text answer read strictly and named as the client asked."""
    answer = decode(_TEXT, body)
    _name(answer, model, request_id, "cmpl", counts)
    answer.object = "text_completion"
    for choice in answer.choices:
        choice.finish_reason = choice.finish_reason or "stop"
        if bytes(choice.logprobs).startswith(b'{"content":'):
            choice.logprobs = _legacy(choice.logprobs)
    return answer


class _Alternative(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Alternative] = []


class _Content(msgspec.Struct):
    content: list[_Token]


_CONTENT: Final = msgspec.json.Decoder(_Content)


def _legacy(raw: Raw) -> Raw:
    """llama.cpp gives completions the log probabilities of chat; the older form is four lists."""
    tokens = decode(_CONTENT, bytes(raw)).content
    offset, offsets = 0, []
    for each in tokens:
        offsets.append(offset)
        offset += len(each.token)
    made = {
        "tokens": [each.token for each in tokens],
        "token_logprobs": [each.logprob for each in tokens],
        "top_logprobs": [{other.token: other.logprob for other in each.top_logprobs} for each in tokens],
        "text_offset": offsets,
    }
    return Raw(msgspec.json.encode(made))


def usage_of(usage: Any, counts: Counts | None, *, generated: bool = True) -> Any:
    """The usage to show: `counts` where given, else the engine's if it can be believed, else UNSET."""
    if counts is None:
        try:
            counts = counts_from(msgspec.convert(usage, Figures), None, "")
        except msgspec.ValidationError:
            counts = None
    return UNSET if counts is None else counts.usage(generated=generated)


def call_id(request_id: str, choice: int, place: int = 0) -> str:
    """The id of a tool call that the gateway made; the same for the same place in the same answer."""
    return "call_" + hashlib.sha256(f"{request_id}/{choice}/{place}".encode()).hexdigest()[:24]


def chat_events(answer: ChatAnswer, created_s: int, include_usage: bool) -> list[bytes]:
    """A whole chat answer as the stream it would have been; the last item is what follows the commit."""
    shell = {
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": answer.created or created_s,
        "model": answer.model,
    }
    events: list[bytes] = []

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> None:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        body = {**shell, "choices": [choice]}
        if include_usage:
            body["usage"] = None
        events.append(_event(body))

    for choice in answer.choices:
        index, message = choice.index, choice.message
        chunk(index, {"role": "assistant", "content": None if message.tool_calls else ""})
        if message.content:
            # Log probabilities belong to tokens, which pieces of text are not: one chunk then.
            size = len(message.content) if choice.logprobs is not None else _PIECE
            for start in range(0, len(message.content), size):
                chunk(index, {"content": message.content[start : start + size]}, logprobs=choice.logprobs)
        for place, raw in enumerate(message.tool_calls or ()):
            call = msgspec.json.decode(raw)
            arguments = call["function"]["arguments"]
            head = {"index": place, "id": call["id"], "type": "function"}
            chunk(index, {"tool_calls": [{**head, "function": {"name": call["function"]["name"], "arguments": ""}}]})
            for start in range(0, len(arguments), _PIECE):
                piece = {"index": place, "function": {"arguments": arguments[start : start + _PIECE]}}
                chunk(index, {"tool_calls": [piece]})
        chunk(index, {}, choice.finish_reason)
    events.append(_tail({**shell, "choices": []}, answer.usage, include_usage))
    return events


def text_events(answer: TextAnswer, created_s: int, include_usage: bool) -> list[bytes]:
    """A whole text answer as a stream; the last item is what follows the commit."""
    shell = {
        "id": answer.id,
        "object": "text_completion",
        "created": answer.created or created_s,
        "model": answer.model,
    }
    events = [_event({**shell, "choices": [choice]}) for choice in answer.choices]
    events.append(_tail({**shell, "choices": []}, answer.usage, include_usage))
    return events


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _tail(body: dict[str, Any], usage: Any, include_usage: bool) -> bytes:
    done = b"data: [DONE]\n\n"
    if not include_usage or usage is UNSET:
        return done
    return _event({**body, "usage": usage}) + done


def _name(answer: ChatAnswer | TextAnswer, model: str, request_id: str, prefix: str, counts: Counts | None) -> None:
    answer.model = model
    answer.id = answer.id or f"{prefix}-{request_id}"
    answer.usage = usage_of(answer.usage, counts)
    if answer.system_fingerprint is None:
        answer.system_fingerprint = UNSET
