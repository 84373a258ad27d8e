"""Chat messages as clients send them, and as engines get them: one text each, roles engines know."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headrace import errors

_ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
_Id = Annotated[str, Meta(max_length=256)]
_Name = Annotated[str, Meta(max_length=256)]
_PARTS_MAX: Final = 1000


class TextPart(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """A part that is text."""

    text: str


class RefusalPart(msgspec.Struct, tag="refusal", tag_field="type", forbid_unknown_fields=True):
    """A part in which an earlier answer refused."""

    refusal: str


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A picture, which must stand in the address itself."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(msgspec.Struct, tag="image_url", tag_field="type", forbid_unknown_fields=True):
    """A picture, for a model that sees."""

    image_url: ImageUrl


class AudioPart(msgspec.Struct, tag="input_audio", tag_field="type"):
    """Refused by name: no model here hears."""


class FilePart(msgspec.Struct, tag="file", tag_field="type"):
    """Refused by name: nothing is fetched or unpacked."""


Content = str | Annotated[list[TextPart | RefusalPart | ImagePart | AudioPart | FilePart], Meta(max_length=_PARTS_MAX)]


class Function(msgspec.Struct, forbid_unknown_fields=True):
    """The function a call named, its arguments as JSON in a text."""

    name: _ToolName
    arguments: str


class ToolCall(msgspec.Struct, forbid_unknown_fields=True, tag="function", tag_field="type"):
    """One earlier call of a tool."""

    id: _Id
    function: Function
    index: int | UnsetType = UNSET


class System(msgspec.Struct, tag="system", tag_field="role", forbid_unknown_fields=True):
    """What the operator of the conversation says."""

    content: Content
    name: _Name | None = None


class Developer(msgspec.Struct, tag="developer", tag_field="role", forbid_unknown_fields=True):
    """The newer word for system."""

    content: Content
    name: _Name | None = None


class User(msgspec.Struct, tag="user", tag_field="role", forbid_unknown_fields=True):
    """What the user says."""

    content: Content
    name: _Name | None = None


class Assistant(msgspec.Struct, tag="assistant", tag_field="role", forbid_unknown_fields=True):
    """What was answered. Fields that clients copy from answers are taken; reasoning is not sent again."""

    content: Content | None = None
    name: _Name | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=128)] | None = None
    function_call: Any = None
    audio: Any = None
    annotations: list[Any] | None = None
    reasoning_content: str | None = None


class Tool(msgspec.Struct, tag="tool", tag_field="role", forbid_unknown_fields=True):
    """What a tool gave back."""

    content: Content
    tool_call_id: _Id


Message = System | Developer | User | Assistant | Tool


class Turn(msgspec.Struct):
    """A message as it is sent to an engine."""

    role: str
    content: str | list[TextPart | ImagePart] | None
    name: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


def turn(message: Message, index: int) -> Turn:
    """One message for engines. Raises Invalid for what no model here takes."""
    content = message.content
    if content is not None and not isinstance(content, str):
        if isinstance(message, User) and any(isinstance(part, ImagePart) for part in content):
            return _seen(message, content, index)
        content = _text(content, index)
    if isinstance(message, Assistant):
        return _assistant(message, content, index)
    if isinstance(message, Tool):
        return Turn("tool", content, tool_call_id=message.tool_call_id)
    made = Turn("user" if isinstance(message, User) else "system", content)
    if message.name is not None:
        made.name = message.name
    return made


def _seen(message: User, parts: list[Any], index: int) -> Turn:
    """A user's message with pictures: its parts stay apart, in their order."""
    kept: list[TextPart | ImagePart] = []
    for place, part in enumerate(parts):
        kept.append(part if isinstance(part, ImagePart) else TextPart(_text([part], index, place)))
    made = Turn("user", kept)
    if message.name is not None:
        made.name = message.name
    return made


def _assistant(message: Assistant, content: str | None, index: int) -> Turn:
    for name in ("function_call", "audio"):
        if getattr(message, name) is not None:
            raise errors.Invalid(
                f"'{name}' in a message is not supported; use 'tool_calls' and text.",
                param=f"messages[{index}].{name}",
                code="unsupported_parameter",
            )
    if content is None:
        content = message.refusal
    if content is None and not message.tool_calls:
        raise errors.Invalid(
            "A message of the assistant needs 'content' or 'tool_calls'.", param=f"messages[{index}].content"
        )
    made = Turn("assistant", content)
    if message.name is not None:
        made.name = message.name
    if message.tool_calls:
        made.tool_calls = message.tool_calls
    return made


def _text(parts: list[Any], index: int, first: int = 0) -> str:
    texts: list[str] = []
    for place, part in enumerate(parts, first):
        match part:
            case TextPart():
                texts.append(part.text)
            case RefusalPart():
                texts.append(part.refusal)
            case _:
                kind = part.__struct_config__.tag
                raise unseen(str(kind), f"messages[{index}].content[{place}]")
    return "\n".join(texts)


def pictures(turn: Turn, index: int) -> list[tuple[str, str]]:
    """The pictures of a message: where each one's address stands, and the address."""
    if turn.content is None or isinstance(turn.content, str):
        return []
    found = enumerate(turn.content)
    return [(f"messages[{index}].content[{place}].image_url.url", part.image_url.url) for place, part in found
            if isinstance(part, ImagePart)]  # fmt: skip


def words(content: str | list[TextPart | ImagePart] | None) -> str:
    """The text of a message, its pictures left out."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content if isinstance(part, TextPart))


def seen(parts: list[TextPart | ImagePart]) -> str | list[TextPart | ImagePart]:
    """What is said in parts: one text, unless there are pictures among them."""
    return parts if any(isinstance(part, ImagePart) for part in parts) else words(parts)


def unseen(kind: str, at: str) -> errors.Invalid:
    """A part of a message that the model cannot take."""
    return errors.Invalid(
        f"Content of type '{kind}' is not supported by this model; it takes text.",
        param=f"{at}.type",
        code="unsupported_value",
    )
