"""Items of a Responses request, as clients send them, and the turns that engines get for them.

An item is read by its type, and one that no model here takes is refused by name. Reasoning is not sent again.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.wire.messages import Function, ImagePart, ImageUrl, TextPart, ToolCall, Turn, seen, unseen
from headrace.wire.reading import convert

ITEMS_MAX: Final = 10_000
_PARTS_MAX: Final = 1000
_Id = Annotated[str, Meta(max_length=256)]
_ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
_Status = Literal["in_progress", "completed", "incomplete"]

Items = Annotated[list[dict[str, Any]], Meta(max_length=ITEMS_MAX)]


class InputText(msgspec.Struct, tag="input_text", tag_field="type", forbid_unknown_fields=True):
    """What somebody said. The engines cache prompts by themselves, so a breakpoint says nothing new."""

    text: str
    prompt_cache_breakpoint: Any = None


class OutputText(msgspec.Struct, tag="output_text", tag_field="type", forbid_unknown_fields=True):
    """What was answered, with what clients copy from answers."""

    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Refusal(msgspec.Struct, tag="refusal", tag_field="type", forbid_unknown_fields=True):
    """An earlier answer refused."""

    refusal: str


class InputImage(msgspec.Struct, tag="input_image", tag_field="type", forbid_unknown_fields=True):
    """A picture, for a model that sees. It stands in the address itself: there are no files to name."""

    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    file_id: Any = None
    prompt_cache_breakpoint: Any = None


class InputFile(msgspec.Struct, tag="input_file", tag_field="type"):
    """Refused by name: nothing is fetched or unpacked."""


class InputAudio(msgspec.Struct, tag="input_audio", tag_field="type"):
    """Refused by name: no model here hears."""


Parts = Annotated[
    list[InputText | OutputText | Refusal | InputImage | InputFile | InputAudio], Meta(max_length=_PARTS_MAX)
]


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """Something said, by whoever."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | Parts
    type: Literal["message"] = "message"
    id: _Id | None = None
    status: _Status | None = None
    phase: str | None = None


class FunctionCall(msgspec.Struct, forbid_unknown_fields=True):
    """An earlier call of a tool."""

    call_id: _Id
    name: _ToolName
    arguments: str
    type: Literal["function_call"] = "function_call"
    id: _Id | None = None
    status: _Status | None = None
    namespace: str | None = None
    caller: Any = None
    created_by: str | None = None


class FunctionCallOutput(msgspec.Struct, forbid_unknown_fields=True):
    """What that tool gave back."""

    call_id: _Id
    output: str | Parts
    type: Literal["function_call_output"] = "function_call_output"
    id: _Id | None = None
    status: _Status | None = None
    name: str | None = None
    namespace: str | None = None
    caller: Any = None
    created_by: str | None = None


class Conversation(msgspec.Struct):
    """For engines. `pictures`: where the addresses of those in it stand, and these."""

    turns: list[Turn] = []
    pictures: list[tuple[str, str]] = []


def conversation(instructions: str | None, given: str | list[dict[str, Any]]) -> Conversation:
    """What was said so far. Raises Invalid for what no model here takes."""
    found = Conversation([Turn("system", instructions)] if instructions else [])
    made = found.turns
    if isinstance(given, str):
        made.append(Turn("user", given))
        return found
    calls: set[str] = set()
    for index, item in enumerate(given):
        at = f"input[{index}]"
        match item.get("type", "message" if "role" in item else "item_reference"):
            case "message":
                message = convert(item, Message, at)
                role = "system" if message.role == "developer" else message.role
                pictures = found.pictures if role == "user" else None
                made.append(Turn(role, _said(message.content, f"{at}.content", pictures)))
            case "function_call":
                _call(made, convert(item, FunctionCall, at))
                calls.add(item["call_id"])
            case "function_call_output":
                made.append(_output(convert(item, FunctionCallOutput, at), calls, at))
            case "reasoning":
                pass
            case other:
                raise _unknown(str(other)[:64], at)
    return found


def _call(made: list[Turn], call: FunctionCall) -> None:
    """A call belongs to the turn of the assistant that it follows."""
    if not made or made[-1].role != "assistant":
        made.append(Turn("assistant", None))
    turn, called = made[-1], ToolCall(call.call_id, Function(call.name, call.arguments))
    turn.tool_calls = [*(turn.tool_calls or ()), called]


def _output(given: FunctionCallOutput, calls: set[str], at: str) -> Turn:
    if given.call_id not in calls:
        raise errors.Invalid(
            f"No function_call with call_id {given.call_id[:64]!r} stands before this output. Send the call as "
            "well, as it stood in the answer.",
            param=f"{at}.call_id",
        )
    return Turn("tool", _said(given.output, f"{at}.output", None), tool_call_id=given.call_id)


def _said(content: str | list[Any], at: str, pictures: list[tuple[str, str]] | None) -> Any:
    """One text, or parts where there are pictures; those are noted, where they may stand."""
    if isinstance(content, str):
        return content
    parts: list[TextPart | ImagePart] = []
    for place, part in enumerate(content):
        match part:
            case InputText() | OutputText():
                parts.append(TextPart(part.text))
            case Refusal():
                parts.append(TextPart(part.refusal))
            case InputImage(image_url=str(url)) if pictures is not None:
                parts.append(ImagePart(ImageUrl(url, part.detail)))
                pictures.append((f"{at}[{place}].image_url", url))
            case _:
                raise unseen(str(part.__struct_config__.tag), f"{at}[{place}]")
    return seen(parts)


def _unknown(kind: str, at: str) -> errors.Invalid:
    if kind == "item_reference":
        why = "An item that is named by its id alone cannot be looked up; send the item itself."
    else:
        why = f"Items of type '{kind}' are not supported; send message, function_call and function_call_output."
    return errors.Invalid(why, param=f"{at}.type", code="unsupported_value")
