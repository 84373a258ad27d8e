"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's Messages API in front of chat models.

The request becomes a chat request, so an engine is sent the same as for chat, with the same checks; what comes back is
told as a message or as its events.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability
from headrace.wire import answer, anthropic_answer, anthropic_input, chat, formats, sampling, schemas, stops
from headrace.wire import tools as tooling  # a request has a field of that name
from headrace.wire.anthropic_stream import AnthropicMeter
from headrace.wire.call import Call, Joined, estimate
from headrace.wire.chat_request import MESSAGES_MAX, ChatRequest
from headrace.wire.messages import unseen
from headrace.wire.reading import convert, read, unsupported
from headrace.wire.translate import blocks_of, choice_of
from headrace.wire.usage import Counts

_StopWord = Annotated[str, Meta(min_length=1, max_length=256)]
_ToolName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]


class Tool(msgspec.Struct, forbid_unknown_fields=True):
    """A tool that the client runs. What follows `strict` is about caching and hosted tools, and says nothing here."""

    name: _ToolName
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: Annotated[str, Meta(max_length=16384)] | None = None
    strict: bool | None = None
    cache_control: Any = None
    eager_input_streaming: bool | None = None
    input_examples: list[dict[str, Any]] | None = None


class Auto(msgspec.Struct, tag="auto", tag_field="type", forbid_unknown_fields=True):
    """`tool_choice`: the model decides."""

    disable_parallel_tool_use: bool | None = None


class AnyTool(msgspec.Struct, tag="any", tag_field="type", forbid_unknown_fields=True):
    """`tool_choice`: one of them."""

    disable_parallel_tool_use: bool | None = None


class OneTool(msgspec.Struct, tag="tool", tag_field="type", forbid_unknown_fields=True):
    """`tool_choice`: this one."""

    name: _ToolName
    disable_parallel_tool_use: bool | None = None


class NoTool(msgspec.Struct, tag="none", tag_field="type", forbid_unknown_fields=True):
    """`tool_choice`: none of them."""


class JsonFormat(msgspec.Struct, forbid_unknown_fields=True):
    """The schema that an answer follows."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`output_config`: the form of the answer; the effort reaches engines that take one."""

    format: JsonFormat | None = None
    effort: Annotated[str, Meta(max_length=32)] | None = None


class Thinking(msgspec.Struct):
    """`thinking`. A model thinks as it was made to, if at all, and `max_tokens` bounds that together with the answer.

    A budget is the most that may be thought, and nothing asks engines to think as much.
    """

    type: Literal["enabled", "disabled", "adaptive"]


class Edit(msgspec.Struct):
    """One edit of `context_management`."""

    type: str


class ContextManagement(msgspec.Struct, forbid_unknown_fields=True):
    """`context_management`. Earlier thinking is never sent again, so that it be cleared says nothing new."""

    edits: Annotated[list[Edit], Meta(max_length=32)] = []


class Metadata(msgspec.Struct, forbid_unknown_fields=True):
    """`metadata`."""

    user_id: sampling.Label | None = None


class CountRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a message and a count have in common. What follows `cache_control` is known, and refused."""

    model: sampling.Model
    messages: Annotated[list[anthropic_input.Message], Meta(min_length=1, max_length=MESSAGES_MAX)]
    system: anthropic_input.System | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=tooling.TOOLS_MAX)] | None = None
    tool_choice: Auto | AnyTool | OneTool | NoTool | None = None
    output_config: OutputConfig | None = None
    thinking: Thinking | None = None
    context_management: ContextManagement | None = None
    cache_control: Any = None
    speed: Any = None
    mcp_servers: Any = None
    user_profile_id: Any = None
    workspace_id: Any = None


class MessagesRequest(CountRequest, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send. What follows `service_tier` is known, and refused."""

    max_tokens: sampling.Tokens
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: sampling.TopP | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    stop_sequences: Annotated[list[_StopWord], Meta(max_length=16)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: Any = None
    inference_geo: Any = None
    diagnostics: Any = None


_DECODER: Final = msgspec.json.Decoder(MessagesRequest)
_COUNT: Final = msgspec.json.Decoder(CountRequest)
_REFUSED: Final = ("speed", "mcp_servers", "user_profile_id", "workspace_id")
_REFUSED_TOO: Final = ("container", "inference_geo", "diagnostics")


class MessagesCall(chat.ChatCall, kw_only=True):
    """A request of the Messages API that has been read. `met` is the stop text that the answer ended at."""

    met: str | None = None

    def render(
        self, ability: Ability, upstream_model: str, output_default: int, context_tokens: int
    ) -> tuple[str, bytes]:
        """See `Call.render`. What chat would refuse by chat's name for it is refused here first."""
        if self.request.reasoning_effort is not None and "reasoning_effort" not in ability.parameters:
            raise unsupported("output_config.effort")
        if self.request.response_format is not None and not ability.generates:
            raise unsupported("output_config.format")
        if self.pictures and not ability.images:
            raise unseen("image", self.pictures[0][0].removesuffix(".source.data"))
        path, body = super().render(ability, upstream_model, output_default, context_tokens)
        return path, stops.asking(body, ability) if self._stops else body

    def join(self, answers: Sequence[tuple[Self, bytes]], request_id: str, created_s: int, counts: Counts) -> Joined:
        """See `Call.join`."""
        self.met = stops.met(answers[-1][1], self._stops)
        return super().join(answers, request_id, created_s, counts)

    @property
    def _stops(self) -> list[str]:
        """What the client asked to end at."""
        given = self.request.stop or []
        return [given] if isinstance(given, str) else given

    def meter(self, dialect: str, request_id: str = "", wall_us: int = 0) -> AnthropicMeter:
        """See `Call.meter`."""
        return AnthropicMeter(
            dialect=dialect, model=self.model, request_id=request_id, wall_us=wall_us, stops=self._stops
        )

    def told(self, made: answer.ChatAnswer, request_id: str, counts: Counts | None) -> bytes:
        """See `ChatCall.told`."""
        choice = choice_of(made)
        finish, blocks = choice.finish_reason or "", blocks_of(choice, request_id)
        message = anthropic_answer.message(request_id, self.model)
        message["content"] = [anthropic_answer.content(block, finish) for block in blocks]
        message |= anthropic_answer.end(finish, blocks, self.met)
        message["usage"] = anthropic_answer.usage(counts or Counts())
        return msgspec.json.encode(message)

    def retold(self, made: answer.ChatAnswer, request_id: str, created_s: int, counts: Counts | None) -> list[bytes]:
        """See `ChatCall.retold`."""
        meter = self.meter("", request_id, created_s * 1_000_000)
        events = meter.retell(choice_of(made))
        meter.met = self.met
        return [*events, meter.tail(counts)]

    def _answer(self, body: bytes, request_id: str, counts: Counts | None) -> answer.ChatAnswer:
        self.met = stops.met(body, self._stops)
        return super()._answer(body, request_id, counts)


class CountCall(MessagesCall, kw_only=True):
    """The same, to be counted and not run."""

    def quoted(self, quote: dict[str, object]) -> bytes:
        """See `Call.quoted`."""
        return msgspec.json.encode({"input_tokens": quote["input_tokens"]})


def parse(body: bytes) -> Call:
    """The body of a request for a message. Raises Invalid."""
    request = read(_DECODER, body, MessagesRequest.__struct_fields__)
    for name in sampling.given(request, _REFUSED_TOO):
        raise unsupported(name)
    return _call(MessagesCall, request, request)


def parse_count(body: bytes) -> Call:
    """The body of a request to count. Raises Invalid."""
    return _call(CountCall, read(_COUNT, body, CountRequest.__struct_fields__), None)


def _call(kind: type[MessagesCall], asked: CountRequest, request: MessagesRequest | None) -> MessagesCall:
    for name in sampling.given(asked, _REFUSED):
        raise unsupported(name)
    for edit in asked.context_management.edits if asked.context_management is not None else ():
        if not edit.type.startswith("clear_thinking_"):
            raise unsupported("context_management", f"of type '{edit.type[:64]}' is not supported; leave it out")
    said = anthropic_input.conversation(asked.system, asked.messages)
    tools = [_tool(tool, index) for index, tool in enumerate(asked.tools or ())]
    choice = _choice(asked.tool_choice)
    if not tools and choice not in (None, "none", "auto"):
        raise errors.Invalid("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    size = sum(chat.turn_bytes(turn) for turn in said.turns)
    if tools:
        size += tooling.check(tools, choice, at="input_schema")
    stream = request is not None and request.stream is True
    return kind(
        model=asked.model,
        task="chat",
        endpoint="messages",
        stream=stream,
        include_usage=stream,
        input_bytes=size,
        input_tokens=estimate(size, len(said.turns)) + chat.PICTURE_TOKENS * len(said.pictures),
        output_max=request.max_tokens if request is not None else None,
        prefix=chat.prefix(said.turns),
        request=_chat_request(asked, request, tools, choice),
        turns=said.turns,
        pictures=tuple(said.pictures),
    )


def _chat_request(
    asked: CountRequest,
    request: MessagesRequest | None,
    tools: list[tooling.ToolSpec],
    choice: tooling.ToolChoice | None,
) -> ChatRequest:
    config = asked.output_config or OutputConfig()
    made = ChatRequest(
        model=asked.model, messages=[], tools=tools or None, tool_choice=choice, reasoning_effort=config.effort
    )
    if config.format is not None:
        schemas.check(config.format.schema, "output_config.format.schema")
        made.response_format = formats.SchemaFormat(formats.SchemaSpec("answer", config.format.schema, strict=True))
    if tools and getattr(asked.tool_choice, "disable_parallel_tool_use", None):
        made.parallel_tool_calls = False
    if request is not None:
        made.temperature, made.top_p, made.top_k = request.temperature, request.top_p, request.top_k
        made.stop = request.stop_sequences or None
    return made


def _tool(given: dict[str, Any], index: int) -> tooling.ToolSpec:
    kind = given.get("type")
    if kind not in (None, "custom"):
        raise errors.Invalid(
            f"Tools of type '{str(kind)[:64]}' are not run here; offer tools with an 'input_schema', which your "
            "program runs.",
            param=f"tools[{index}].type",
            code="unsupported_value",
        )
    tool = convert(given, Tool, f"tools[{index}]")
    return tooling.ToolSpec(
        "function", tooling.FunctionSpec(tool.name, tool.description, tool.input_schema, tool.strict)
    )


def _choice(given: Auto | AnyTool | OneTool | NoTool | None) -> tooling.ToolChoice | None:
    match given:
        case OneTool():
            return tooling.NamedChoice("function", tooling.Named(given.name))
        case AnyTool():
            return "required"
        case NoTool():
            return "none"
        case Auto():
            return "auto"
        case _:
            return None
