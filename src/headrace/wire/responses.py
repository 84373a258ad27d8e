"""`POST /v1/responses` and `/v1/responses/input_tokens`: OpenAI's Responses API in front of chat models.

The request becomes a chat request, so an engine is sent the same as for chat, with the same checks; what comes back is
told as a response object or as its events.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.request import FLEX, INTERACTIVE
from headrace.state.table import Ability
from headrace.wire import answer, chat, formats, responses_answer, responses_input, sampling, schemas
from headrace.wire import tools as tooling  # a request has a field of that name
from headrace.wire.call import Call, estimate
from headrace.wire.chat_request import ChatRequest
from headrace.wire.messages import unseen
from headrace.wire.reading import convert, read, unsupported
from headrace.wire.responses_stream import ResponsesMeter
from headrace.wire.translate import Block, blocks_of, choice_of
from headrace.wire.usage import Counts

LOGPROBS: Final = "message.output_text.logprobs"
_HARMLESS: Final = ("reasoning.encrypted_content",)  # asks for more of something that is never made here


class SchemaFormat(msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True, omit_defaults=True):
    """JSON that follows a schema."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    strict: bool | None = None
    description: Annotated[str, Meta(max_length=16384)] | None = None


class Text(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`text`: what form the answer has."""

    format: formats.TextFormat | formats.ObjectFormat | SchemaFormat | None = None
    verbosity: Annotated[str, Meta(max_length=32)] | None = None


class Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    """`reasoning`. Only the effort reaches an engine, where it takes one; what it thinks is told without a summary."""

    effort: Annotated[str, Meta(max_length=32)] | None = None
    summary: str | None = None
    generate_summary: str | None = None
    mode: str | None = None
    context: str | None = None


class FunctionTool(msgspec.Struct, forbid_unknown_fields=True):
    """A tool that the client runs."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    type: Literal["function"] = "function"
    description: Annotated[str, Meta(max_length=16384)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedChoice(msgspec.Struct, forbid_unknown_fields=True):
    """`tool_choice` that names one function."""

    type: Literal["function"]
    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """`stream_options`. Padding is for links that we do not have."""

    include_obfuscation: bool | None = None


class Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a response and a count have in common."""

    model: sampling.Model
    input: str | responses_input.Items | None = None
    instructions: str | None = None
    text: Text | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=tooling.TOOLS_MAX)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    previous_response_id: sampling.Label | None = None
    conversation: Any = None


class CountRequest(Asked, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send to have its input counted."""

    personality: Any = None


class ResponsesRequest(Asked, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send. What follows `stream_options` is known, and refused unless it says nothing."""

    max_output_tokens: sampling.Tokens | None = None
    temperature: sampling.Temperature | None = None
    top_p: sampling.TopP | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: Annotated[list[str], Meta(max_length=32)] | None = None
    metadata: Annotated[dict[sampling.Label, sampling.Label], Meta(max_length=16)] | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    store: bool | None = None
    background: bool | None = None
    user: sampling.Label | None = None
    safety_identifier: sampling.Label | None = None
    prompt_cache_key: sampling.Label | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prompt: Any = None
    moderation: Any = None
    context_management: Any = None
    prompt_cache_retention: Any = None
    prompt_cache_options: Any = None


_DECODER: Final = msgspec.json.Decoder(ResponsesRequest)
_COUNT: Final = msgspec.json.Decoder(CountRequest)
_REFUSED: Final = (
    "conversation", "prompt", "moderation", "context_management", "prompt_cache_retention", "prompt_cache_options",
)  # fmt: skip


class ResponsesCall(chat.ChatCall, kw_only=True):
    """A request of the Responses API that has been read. `echo` are the parameters that its response repeats."""

    echo: dict[str, Any]

    def render(
        self, ability: Ability, upstream_model: str, output_default: int, context_tokens: int
    ) -> tuple[str, bytes]:
        """See `Call.render`. What chat would refuse by chat's name for it is refused here first."""
        request, declared = self.request, ability.parameters
        if request.reasoning_effort is not None and "reasoning_effort" not in declared:
            raise unsupported("reasoning.effort")
        if request.verbosity is not None and "verbosity" not in declared:
            raise unsupported("text.verbosity")
        if request.logprobs and not ability.logprobs:
            raise unsupported("include", f"with {LOGPROBS!r} is not supported by this model")
        if isinstance(request.response_format, formats.ObjectFormat | formats.SchemaFormat) and not ability.generates:
            raise unsupported("text.format")
        if self.pictures and not ability.images:
            raise unseen("input_image", self.pictures[0][0].removesuffix(".image_url"))
        return super().render(ability, upstream_model, output_default, context_tokens)

    def meter(self, dialect: str, request_id: str = "", wall_us: int = 0) -> ResponsesMeter:
        """See `Call.meter`."""
        return ResponsesMeter(dialect=dialect, model=self.model, request_id=request_id, wall_us=wall_us, echo=self.echo)

    def told(self, made: answer.ChatAnswer, request_id: str, counts: Counts | None) -> bytes:
        """See `ChatCall.told`."""
        facts = responses_answer.Facts(request_id=request_id, created_s=made.created, echo=self.echo)
        choice = choice_of(made)
        blocks = blocks_of(choice, request_id) or [Block("text", 0)]
        return msgspec.json.encode(responses_answer.whole(facts, choice.finish_reason or "", blocks, counts))

    def retold(self, made: answer.ChatAnswer, request_id: str, created_s: int, counts: Counts | None) -> list[bytes]:
        """See `ChatCall.retold`."""
        meter = self.meter("", request_id, created_s * 1_000_000)
        events = meter.retell(choice_of(made))
        return [*events, meter.tail(counts)]


class CountCall(ResponsesCall, kw_only=True):
    """The same, to be counted and not run."""

    def quoted(self, quote: dict[str, object]) -> bytes:
        """See `Call.quoted`."""
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": quote["input_tokens"]})


def parse(body: bytes) -> Call:
    """The body of a request for a response. Raises Invalid."""
    request = read(_DECODER, body, ResponsesRequest.__struct_fields__)
    _check(request)
    return _call(ResponsesCall, request, request)


def parse_count(body: bytes) -> Call:
    """The body of a request to count. Raises Invalid."""
    asked = read(_COUNT, body, CountRequest.__struct_fields__)
    for name in sampling.given(asked, ("previous_response_id", "conversation", "personality")):
        raise unsupported(name)
    return _call(CountCall, asked, ResponsesRequest(model=asked.model))


def _call(kind: type[ResponsesCall], asked: Asked, request: ResponsesRequest) -> ResponsesCall:
    if asked.input is None and not asked.instructions:
        raise errors.Invalid("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if asked.truncation == "auto":
        raise unsupported("truncation", "as 'auto' is not supported: shorten the input, or summarise it")
    said = responses_input.conversation(asked.instructions, asked.input or [])
    if not said.turns:
        raise errors.Invalid("'input' holds nothing to answer.", param="input")
    tools = [_tool(tool, index) for index, tool in enumerate(asked.tools or ())]
    choice = _choice(asked.tool_choice, tools)
    size = sum(chat.turn_bytes(turn) for turn in said.turns)
    if tools:
        size += tooling.check(tools, choice, at="parameters")
    stream = request.stream is True
    return kind(
        model=asked.model,
        task="chat",
        endpoint="responses",
        stream=stream,
        include_usage=stream,
        input_bytes=size,
        input_tokens=estimate(size, len(said.turns)) + chat.PICTURE_TOKENS * len(said.pictures),
        output_max=request.max_output_tokens,
        prefix=chat.prefix(said.turns),
        priority=FLEX if request.service_tier == "flex" else INTERACTIVE,
        request=_chat_request(asked, request, tools, choice),
        turns=said.turns,
        pictures=tuple(said.pictures),
        kept=bool(request.store or request.background or asked.previous_response_id),
        echo=_echo(asked, request, tools),
    )


def _check(request: ResponsesRequest) -> None:
    """What types cannot say. Cases in the order in which they are told."""
    if request.background and request.store is False:
        raise errors.Invalid("'background' needs 'store': its answer is kept until it is asked for.", param="store")
    for name in sampling.given(request, _REFUSED):
        raise unsupported(name)
    if request.stream_options is not None and not request.stream:
        raise errors.Invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    for place, name in enumerate(request.include or ()):
        if name != LOGPROBS and name not in _HARMLESS:
            raise errors.Invalid(
                f"'{name[:64]}' cannot be included here; {LOGPROBS} can.",
                param=f"include[{place}]",
                code="unsupported_value",
            )
    if request.top_logprobs and LOGPROBS not in (request.include or ()):
        raise errors.Invalid(f"'top_logprobs' needs 'include' to hold {LOGPROBS!r}.", param="top_logprobs")


def _tool(given: dict[str, Any], index: int) -> tooling.ToolSpec:
    kind = given.get("type", "function")
    if kind != "function":
        raise errors.Invalid(
            f"Tools of type '{str(kind)[:64]}' are not run here; offer functions, which your program runs.",
            param=f"tools[{index}].type",
            code="unsupported_value",
        )
    tool = convert(given, FunctionTool, f"tools[{index}]")
    function = tooling.FunctionSpec(tool.name, tool.description, tool.parameters, tool.strict)
    return tooling.ToolSpec("function", function)


def _choice(given: str | dict[str, Any] | None, tools: list[tooling.ToolSpec]) -> tooling.ToolChoice | None:
    if isinstance(given, dict):
        if given.get("type") != "function":
            raise errors.Invalid(
                f"A 'tool_choice' of type '{str(given.get('type'))[:64]}' is not supported; name a function.",
                param="tool_choice.type",
                code="unsupported_value",
            )
        named = convert(given, NamedChoice, "tool_choice")
        given, choice = "named", tooling.NamedChoice("function", tooling.Named(named.name))
    else:
        choice = given  # type: ignore[assignment] # one of the literals, by the request's own type
    if given in ("required", "named") and not tools:
        raise errors.Invalid("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    return choice


def _chat_request(
    asked: Asked, request: ResponsesRequest, tools: list[tooling.ToolSpec], choice: tooling.ToolChoice | None
) -> ChatRequest:
    logprobs = LOGPROBS in (request.include or ())
    return ChatRequest(
        model=asked.model,
        messages=[],
        temperature=request.temperature,
        top_p=request.top_p,
        logprobs=True if logprobs else None,
        top_logprobs=request.top_logprobs if logprobs else None,
        response_format=_format(asked.text),
        tools=tools or None,
        tool_choice=choice,
        parallel_tool_calls=asked.parallel_tool_calls if tools else None,
        reasoning_effort=asked.reasoning.effort if asked.reasoning else None,
        verbosity=asked.text.verbosity if asked.text else None,
    )


def _format(text: Text | None) -> formats.Format | None:
    match text.format if text else None:
        case SchemaFormat() as wanted:
            schemas.check(wanted.schema, "text.format.schema")
            spec = formats.SchemaSpec(wanted.name, wanted.schema, wanted.strict, wanted.description)
            return formats.SchemaFormat(spec)
        case formats.ObjectFormat() as wanted:
            return wanted
        case _:
            return None


def _echo(asked: Asked, request: ResponsesRequest, tools: list[tooling.ToolSpec]) -> dict[str, Any]:
    text = msgspec.to_builtins(asked.text or Text())
    choice = asked.tool_choice or "auto"
    functions = [tool.function for tool in tools]
    return {
        "model": asked.model,
        "instructions": asked.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": asked.reasoning.effort if asked.reasoning else None, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "flex" if request.service_tier == "flex" else "default",
        "store": False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": choice,
        "tools": [
            {"type": "function", "name": each.name, "description": each.description, "parameters": each.parameters,
             "strict": each.strict}
            for each in functions
        ],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
    }  # fmt: skip
