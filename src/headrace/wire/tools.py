"""Tool calls on engines that only follow a JSON schema: the prompt, the schema, and the answer's way back.

The engine's own tool templates are not used: small models do not keep to them. The tools are described in a system
message, the output is constrained to a call of one of them (or, with `auto`, to a reply), and what comes back is
rewritten to `tool_calls`. One call an answer, which `parallel_tool_calls` allows.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw

from headrace import errors
from headrace.wire import answer, schemas
from headrace.wire.messages import Turn, words

TOOLS_MAX: Final = 128
_TOTAL_MAX_BYTES: Final = 256 << 10
_Name = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class FunctionSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A tool's function: what it is called, what it is for, and the JSON schema of its arguments."""

    name: _Name
    description: Annotated[str, Meta(max_length=16384)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One tool."""

    type: Literal["function"]
    function: FunctionSpec


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """The name inside a named choice."""

    name: _Name


class NamedChoice(msgspec.Struct, forbid_unknown_fields=True):
    """`tool_choice` that names one function."""

    type: Literal["function"]
    function: Named


ToolChoice = Literal["none", "auto", "required"] | NamedChoice


class _Out(msgspec.Struct):
    """What a constrained engine writes."""

    name: str = ""
    arguments: Raw = Raw(b"")
    reply: Raw = Raw(b"")


_OUT: Final = msgspec.json.Decoder(_Out)


def check(tools: list[ToolSpec], choice: ToolChoice | None, at: str = "function.parameters") -> int:
    """Bytes of the tools' description. Raises Invalid for doubled names, odd schemas, a choice of none of them.

    `at` is where the API has a tool's schema.
    """
    names = [tool.function.name for tool in tools]
    if len(set(names)) != len(names):
        raise errors.Invalid("Two tools have the same name.", param="tools")
    if isinstance(choice, NamedChoice) and choice.function.name not in names:
        raise errors.Invalid(
            f"'{choice.function.name}' is not the name of a tool; those are {', '.join(names)[:512]}.",
            param="tool_choice",
        )
    for index, tool in enumerate(tools):
        if tool.function.parameters is not None:
            schemas.check(tool.function.parameters, f"tools[{index}].{at}")
    size = len(msgspec.json.encode(tools))
    if size > _TOTAL_MAX_BYTES:
        raise errors.Invalid(f"The tools have {size} bytes; the limit is {_TOTAL_MAX_BYTES}.", param="tools")
    return size


def emulate(
    turns: list[Turn], tools: list[ToolSpec], choice: ToolChoice | None, reply: dict[str, Any] | None
) -> tuple[list[Turn], dict[str, Any]]:
    """Messages and schema for an engine without tools. `reply` is the schema of a plain answer, None for text."""
    offered = tools
    if isinstance(choice, NamedChoice):
        offered = [tool for tool in tools if tool.function.name == choice.function.name]
    forced = choice == "required" or isinstance(choice, NamedChoice)
    calls = [_call_schema(tool.function) for tool in offered]
    definitions = _lift(calls, reply)
    options = calls if forced else [*calls, _object({"reply": reply or {"type": "string"}})]
    schema: dict[str, Any] = options[0] if len(options) == 1 else {"anyOf": options}
    if definitions:
        schema = {**schema, "$defs": definitions}
    said = [_describe(tool.function) for tool in offered]
    lines = ["You can call these functions:", *said]
    lines.append('To call one, answer with JSON: {"name": <function>, "arguments": <object>}')
    lines.append("Call the function that fits." if forced else 'Otherwise answer with JSON: {"reply": <your answer>}')
    prompt = "\n".join(lines)
    plain = plain_turns(turns)
    if plain and plain[0].role == "system":
        first = Turn("system", f"{words(plain[0].content)}\n\n{prompt}")
        return [first, *plain[1:]], schema
    return [Turn("system", prompt), *plain], schema


def plain_turns(turns: list[Turn], *, calls: bool = True) -> list[Turn]:
    """History with calls and results written out, for engines that know neither.

    Without `calls` only what was said and what came of them: a small model that may call nothing writes calls all the
    same when it sees some.
    """
    names: dict[str, str] = {}
    made: list[Turn] = []
    for turn in turns:
        if turn.tool_calls:
            written = [words(turn.content)] if turn.content else []
            for call in turn.tool_calls:
                names[call.id] = call.function.name
                written.append(f'{{"name": "{call.function.name}", "arguments": {call.function.arguments or "{}"}}}')
            if calls or turn.content:
                made.append(Turn("assistant", "\n".join(written if calls else written[:1])))
        elif turn.role == "tool":
            name = names.get(str(turn.tool_call_id), "the function")
            made.append(Turn("user", f"Result of {name}: {words(turn.content)}"))
        else:
            made.append(turn)
    return made


def rewrite(choice: answer.Choice, request_id: str, allowed: frozenset[str]) -> None:
    """Turn what the constrained engine wrote into a tool call or a plain reply, in place.

    An answer that was cut by its token limit, or is no call, stays the text it is.
    """
    message = choice.message
    choice.logprobs = None
    out = _out(message.content or "", cut=choice.finish_reason == "length")
    if out is None:
        return
    if bytes(out.reply):
        value = msgspec.json.decode(out.reply)
        message.content = value if isinstance(value, str) else bytes(out.reply).decode()
        return
    if out.name not in allowed:
        return
    arguments = msgspec.json.format(bytes(out.arguments) or b"{}", indent=-1).decode()
    call = {
        "id": answer.call_id(request_id, choice.index),
        "type": "function",
        "function": {"name": out.name, "arguments": arguments},
    }
    message.content = None
    message.tool_calls = [Raw(msgspec.json.encode(call))]
    choice.finish_reason = "tool_calls"


def _out(text: str, *, cut: bool) -> _Out | None:
    """What was written; of a reply that was cut by the token limit, what there is of it."""
    try:
        return _OUT.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        if not cut:
            return None
    for end in ('"}', "}"):
        try:
            out = _OUT.decode(text.rstrip("\\") + end)
        except (msgspec.MsgspecError, RecursionError):
            continue
        return out if bytes(out.reply).startswith(b'"') else None
    return None


def _call_schema(function: FunctionSpec) -> dict[str, Any]:
    parameters = function.parameters or {"type": "object", "properties": {}}
    if parameters.get("type") == "object" and "properties" in parameters:
        # An open object lets a small model ramble in invented keys.
        parameters = {"additionalProperties": False, **parameters}
    return _object({"name": {"const": function.name}, "arguments": parameters})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _lift(calls: list[dict[str, Any]], reply: dict[str, Any] | None) -> dict[str, Any]:
    """Definitions that references from the root reach: they must stand at the root of the joined schema."""
    definitions: dict[str, Any] = {}
    for schema in [*(call["properties"]["arguments"] for call in calls), *([reply] if reply else [])]:
        for name, value in (schema.get("$defs") or {}).items():
            if name in definitions and definitions[name] != value:
                raise errors.Invalid(
                    f"Two tools define '$defs/{name}' differently; give one of them another name.", param="tools"
                )
            definitions[name] = value
    return definitions


def _describe(function: FunctionSpec) -> str:
    parameters = msgspec.json.encode(function.parameters or {}).decode()
    return f"- {function.name}: {function.description or 'no description'} Arguments: {parameters}"
