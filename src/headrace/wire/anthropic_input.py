"""Messages of Anthropic's API, as clients send them, and the turns that engines get for them.

A message of the user may hold results of tools, which are turns of their own before what the user says. Thinking of
earlier answers is not sent again; hints about caching say nothing to engines that cache by themselves.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.wire.messages import Function, ToolCall, Turn

_Id = Annotated[str, Meta(max_length=256)]
_ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]
_BLOCKS_MAX = 1000


class Text(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Text, with what clients copy from answers."""

    text: str
    cache_control: Any = None
    citations: Any = None


class Image(msgspec.Struct, tag="image", tag_field="type"):
    """Refused by name: no model here sees."""


class Document(msgspec.Struct, tag="document", tag_field="type"):
    """Refused by name: nothing is fetched or unpacked."""


class SearchResult(msgspec.Struct, tag="search_result", tag_field="type"):
    """Refused by name: nothing here cites."""


class Thinking(msgspec.Struct, tag="thinking", tag_field="type"):
    """Of an earlier answer."""


class RedactedThinking(msgspec.Struct, tag="redacted_thinking", tag_field="type"):
    """Of an earlier answer, elsewhere."""


class ToolUse(msgspec.Struct, tag="tool_use", tag_field="type", forbid_unknown_fields=True):
    """An earlier call of a tool."""

    id: _Id
    name: _ToolName
    input: dict[str, Any]
    cache_control: Any = None
    caller: Any = None
    toolset_name: Any = None


class ToolResult(msgspec.Struct, tag="tool_result", tag_field="type", forbid_unknown_fields=True):
    """What a tool gave back."""

    tool_use_id: _Id
    content: str | Annotated[list[Text | Image | Document | SearchResult], Meta(max_length=_BLOCKS_MAX)] = ""
    is_error: bool | None = None
    cache_control: Any = None
    toolset_name: Any = None


Blocks = Annotated[
    list[Text | Image | Document | SearchResult | Thinking | RedactedThinking | ToolUse | ToolResult],
    Meta(max_length=_BLOCKS_MAX),
]
System = str | Annotated[list[Text], Meta(max_length=_BLOCKS_MAX)]


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One turn, as it is sent."""

    role: Literal["user", "assistant", "system"]
    content: str | Blocks


def turns(system: System | None, messages: list[Message]) -> list[Turn]:
    """The conversation for engines. Raises Invalid for what no model here takes."""
    made = []
    if system:
        made.append(Turn("system", system if isinstance(system, str) else "\n".join(part.text for part in system)))
    called: set[str] = set()
    for index, message in enumerate(messages):
        at = f"messages[{index}].content"
        if isinstance(message.content, str):
            made.append(Turn(message.role, message.content))
        elif message.role == "assistant":
            made.append(_assistant(message.content, called, at))
        else:
            made.extend(_user(message.role, message.content, called, at))
    return made


def _assistant(blocks: list[Any], called: set[str], at: str) -> Turn:
    texts: list[str] = []
    calls: list[ToolCall] = []
    for place, block in enumerate(blocks):
        match block:
            case Text():
                texts.append(block.text)
            case ToolUse():
                calls.append(ToolCall(block.id, Function(block.name, msgspec.json.encode(block.input).decode())))
                called.add(block.id)
            case Thinking() | RedactedThinking():
                pass
            case _:
                raise _refused(block, f"{at}[{place}]")
    turn = Turn("assistant", "\n".join(texts) if texts or not calls else None)
    if calls:
        turn.tool_calls = calls
    return turn


def _user(role: str, blocks: list[Any], called: set[str], at: str) -> list[Turn]:
    results: list[Turn] = []
    texts: list[str] = []
    for place, block in enumerate(blocks):
        match block:
            case Text():
                texts.append(block.text)
            case ToolResult():
                results.append(_result(block, called, f"{at}[{place}]"))
            case _:
                raise _refused(block, f"{at}[{place}]")
    return [*results, Turn(role, "\n".join(texts))] if texts or not results else results


def _result(block: ToolResult, called: set[str], at: str) -> Turn:
    if block.tool_use_id not in called:
        raise errors.Invalid(
            f"No tool_use with the id {block.tool_use_id[:64]!r} stands before this result. Send the answer that "
            "called the tool as well.",
            param=f"{at}.tool_use_id",
        )
    content = block.content
    if not isinstance(content, str):
        for place, part in enumerate(content):
            if not isinstance(part, Text):
                raise _refused(part, f"{at}.content[{place}]")
        content = "\n".join(part.text for part in content if isinstance(part, Text))
    # Chat has no field for a failure: it is said in words.
    return Turn("tool", f"Error: {content}" if block.is_error else content, tool_call_id=block.tool_use_id)


def _refused(block: Any, at: str) -> errors.Invalid:
    return errors.Invalid(
        f"Content of type '{block.__struct_config__.tag}' is not supported here by this model; it takes text.",
        param=f"{at}.type",
        code="unsupported_value",
    )
