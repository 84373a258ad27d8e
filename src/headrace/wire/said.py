"""What an answer says, read from the bytes its client gets, in whichever API: for comparing two of them.

Read leniently, for they were made here; of what cannot be read there is nothing to compare.
"""

import base64
import binascii
import struct
from typing import Any, Final, NamedTuple

import msgspec

from headrace.wire import fits
from headrace.wire.call import Call
from headrace.wire.chat import ChatCall
from headrace.wire.formats import ObjectFormat, SchemaFormat

_DONE: Final = b"[DONE]"
_LAST: Final = ("response.completed", "response.incomplete")  # events that hold the whole response
_UNREADABLE: Final = (
    msgspec.MsgspecError, RecursionError, AttributeError, TypeError, ValueError, LookupError, binascii.Error,
)  # fmt: skip


class Said(NamedTuple):
    """One answer. `calls` are names of tools and their arguments; `vectors` and `ranking` (indices, best first) are
    of embeddings and rerankings. `choices` is how many answers `text` is made of.
    """

    text: str = ""
    ended: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    vectors: tuple[tuple[float, ...], ...] = ()
    ranking: tuple[int, ...] = ()
    choices: tuple[str, ...] = ()


def whole(body: bytes) -> Said | None:
    """A whole answer; None when it is of no kind that can be compared."""
    try:
        return _whole(msgspec.json.decode(body))
    except _UNREADABLE:
        return None


def streamed(data: bytes) -> Said | None:
    """A stream of events; None when it is of no kind that can be compared."""
    try:
        lines = [line[5:].strip() for line in data.splitlines() if line[:5] == b"data:"]
        events = [msgspec.json.decode(line) for line in lines if line != _DONE]
        return _streamed([event for event in events if isinstance(event, dict)])
    except _UNREADABLE:
        return None


def valid(said: Said, call: Call) -> bool | None:
    """Whether an answer keeps to the schema and the tools of its request; None where that gave none.

    An answer that was cut off at its limit does not.
    """
    if not isinstance(call, ChatCall):
        return None
    wanted, tools = call.request.response_format, {tool.function.name: tool for tool in call.request.tools or ()}
    for name, arguments in said.calls:
        if name not in tools or not isinstance(arguments, dict):
            return False
        if fits.problem(arguments, tools[name].function.parameters):
            return False
    if said.calls or not isinstance(wanted, ObjectFormat | SchemaFormat):
        return True if tools else None
    schema = wanted.json_schema.schema if isinstance(wanted, SchemaFormat) else {"type": "object"}
    return all(_fits(text, schema) for text in said.choices)


def _fits(text: str, schema: Any) -> bool:
    try:
        return not fits.problem(msgspec.json.decode(text), schema)
    except (msgspec.MsgspecError, RecursionError):
        return False


def _whole(body: Any) -> Said | None:
    match body:
        case {"choices": [*choices]}:
            return _chosen([_choice(each) for each in choices])
        case {"data": [{"embedding": _}, *_] as vectors}:
            ordered = sorted(vectors, key=lambda one: one["index"])
            return Said(vectors=tuple(_vector(one["embedding"]) for one in ordered))
        case {"results": [{"relevance_score": _}, *_] as results}:
            return Said(ranking=tuple(one["index"] for one in results))
        case {"output": [*items], "status": str(status)}:
            parts = [part for item in items for part in item.get("content") or () if "text" in part]
            calls = [(item["name"], item["arguments"]) for item in items if item.get("type") == "function_call"]
            return _chosen([("".join(part["text"] for part in parts), status, calls)])
        case {"content": [*parts], "stop_reason": reason}:
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            calls = [(part["name"], part["input"]) for part in parts if part["type"] == "tool_use"]
            return _chosen([(text, str(reason), calls)])
        case {"text": str(text)}:
            return _chosen([(text, "", [])])
    return None


def _choice(choice: Any) -> tuple[str, str, list[tuple[str, Any]]]:
    message = choice.get("message") or choice
    calls = [(one["function"]["name"], one["function"]["arguments"]) for one in message.get("tool_calls") or ()]
    return message.get("content") or message.get("text") or "", str(choice.get("finish_reason")), calls


def _chosen(choices: list[tuple[str, str, list[tuple[str, Any]]]]) -> Said:
    texts = tuple(text for text, _, _ in choices)
    return Said(
        text="\n".join(texts),
        ended=" ".join(ended for _, ended, _ in choices),
        calls=tuple((name, _arguments(given)) for _, _, calls in choices for name, given in calls),
        choices=texts,
    )


def _arguments(given: Any) -> Any:
    """A tool call's, which are JSON in a text with OpenAI; the text where it is no JSON."""
    if not isinstance(given, str):
        return given
    try:
        return msgspec.json.decode(given)
    except (msgspec.MsgspecError, RecursionError):
        return given


def _vector(given: Any) -> tuple[float, ...]:
    if isinstance(given, str):
        packed = base64.b64decode(given, validate=True)
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    return tuple(float(number) for number in given)


def _streamed(events: list[dict[str, Any]]) -> Said | None:
    pieces = _Pieces()
    for event in events:
        if event.get("type") in _LAST:
            return _whole(event["response"])
        pieces.openai(event)
        pieces.anthropic(event)
    return pieces.joined()


class _Pieces:
    """What a stream has said so far, by choice, and of calls by their place: pieces of the name and the arguments."""

    def __init__(self) -> None:
        self.texts: dict[int, list[str]] = {}
        self.ended: dict[int, str] = {}
        self.calls: dict[tuple[int, int], list[tuple[str, str]]] = {}

    def openai(self, event: dict[str, Any]) -> None:
        """A chunk of a chat or a completion."""
        for choice in event.get("choices") or ():
            index, delta = choice.get("index", 0), choice.get("delta") or choice
            self.texts.setdefault(index, []).append(delta.get("content") or delta.get("text") or "")
            if choice.get("finish_reason"):
                self.ended[index] = choice["finish_reason"]
            for part in delta.get("tool_calls") or ():
                function = part["function"]
                piece = function.get("name") or "", function.get("arguments") or ""
                self.calls.setdefault((index, part.get("index", 0)), []).append(piece)

    def anthropic(self, event: dict[str, Any]) -> None:
        """An event of a message."""
        match event:
            case {"type": "content_block_start", "index": int(place), "content_block": {"name": str(name)}}:
                self.calls[0, place] = [(name, "")]
            case {"type": "content_block_delta", "index": int(place), "delta": {"partial_json": str(piece)}}:
                self.calls[0, place].append(("", piece))
            case {"type": "content_block_delta", "delta": {"text": str(text)}}:
                self.texts.setdefault(0, []).append(text)
            case {"type": "message_delta", "delta": {"stop_reason": str(reason)}}:
                self.ended[0] = reason

    def joined(self) -> Said | None:
        """The answer, when there was one."""
        indices = sorted(self.texts.keys() | {index for index, _ in self.calls})
        if not indices:
            return None
        choices = []
        for index in indices:
            mine = [pieces for (at, _), pieces in sorted(self.calls.items()) if at == index]
            calls = [("".join(name for name, _ in pieces), "".join(given for _, given in pieces)) for pieces in mine]
            choices.append(
                ("".join(self.texts.get(index, ())), self.ended.get(index, ""), list[tuple[str, Any]](calls))
            )
        return _chosen(choices)
