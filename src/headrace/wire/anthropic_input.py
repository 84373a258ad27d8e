"""Messages of Anthropic's API, as clients send them, and the turns that engines get for them.

A message of the user may hold results of tools, which are turns of their own before what the user says. Thinking of
earlier answers is not sent again; hints about caching say nothing to engines that cache by themselves.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.wire.messages import Function, ImagePart, ImageUrl, TextPart, ToolCall, Turn, seen, unseen

_Id = Annotated[str, Meta(max_length=256)]
_ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]
_BLOCKS_MAX = 1000


class Text(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Text, with what clients copy from answers."""

    text: str
    cache_control: Any = None
    citations: Any = None


class Base64(msgspec.Struct, tag="base64", tag_field="type", forbid_unknown_fields=True):
    """A picture itself."""

    media_type: Annotated[str, Meta(pattern=r"^image/[a-z.+-]{1,32}$")]
    data: str


class Url(msgspec.Struct, tag="url", tag_field="type"):
    """Refused: nothing is fetched."""

    url: str


class File(msgspec.Struct, tag="file", tag_field="type"):
    """Refused: there are no files to name."""


class Image(msgspec.Struct, tag="image", tag_field="type", forbid_unknown_fields=True):
    """A picture, for a model that sees."""

    source: Base64 | Url | File
    cache_control: Any = None


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


class Conversation(msgspec.Struct):
    """For engines. `pictures`: where the addresses of those in it stand, and these."""

    turns: list[Turn] = []
    pictures: list[tuple[str, str]] = []


def conversation(system: System | None, messages: list[Message]) -> Conversation:
    """What was said so far. Raises Invalid for what no model here takes."""
    found = Conversation()
    made = found.turns
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
            made.extend(_user(message.role, message.content, called, at, found.pictures))
    return found


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
                raise unseen(str(block.__struct_config__.tag), f"{at}[{place}]")
    turn = Turn("assistant", "\n".join(texts) if texts or not calls else None)
    if calls:
        turn.tool_calls = calls
    return turn


def _user(role: str, blocks: list[Any], called: set[str], at: str, pictures: list[tuple[str, str]]) -> list[Turn]:
    results: list[Turn] = []
    parts: list[TextPart | ImagePart] = []
    for place, block in enumerate(blocks):
        match block:
            case Text():
                parts.append(TextPart(block.text))
            case ToolResult():
                results.append(_result(block, called, f"{at}[{place}]"))
            case Image(source=Base64() as source) if role == "user":
                url = f"data:{source.media_type};base64,{source.data}"
                parts.append(ImagePart(ImageUrl(url)))
                pictures.append((f"{at}[{place}].source.data", url))
            case Image(source=Url() | File()):
                raise errors.Invalid(
                    "A picture must stand in the message itself, as a source of type 'base64'; nothing is fetched.",
                    param=f"{at}[{place}].source.type",
                    code="unsupported_value",
                )
            case _:
                raise unseen(str(block.__struct_config__.tag), f"{at}[{place}]")
    return [*results, Turn(role, seen(parts))] if parts or not results else results


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
                raise unseen(str(part.__struct_config__.tag), f"{at}.content[{place}]")
        content = "\n".join(part.text for part in content if isinstance(part, Text))
    # Chat has no field for a failure: it is said in words.
    return Turn("tool", f"Error: {content}" if block.is_error else content, tool_call_id=block.tool_use_id)
