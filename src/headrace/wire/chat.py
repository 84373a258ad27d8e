"""`POST /v1/chat/completions`: what is taken, with its bounds, and what of it an engine is sent."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from headrace import errors
from headrace.state.request import FLEX, INTERACTIVE
from headrace.state.table import Ability
from headrace.wire import answer, media, sampling, schemas
from headrace.wire import tools as tooling  # a request has a field of that name
from headrace.wire.call import PREFIX_MAX_BYTES, Call, estimate
from headrace.wire.messages import Message, Turn, turn, unseen, words
from headrace.wire.messages import pictures as pictures_of
from headrace.wire.reading import read, size_of, unsupported
from headrace.wire.usage import Counts

PATH: Final = "/v1/chat/completions"
MESSAGES_MAX: Final = 10_000
PICTURES_MAX: Final = 16
PICTURE_TOKENS: Final = 1_024  # what a picture is taken for before an engine has counted


class SchemaSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`json_schema` of a response format."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: Annotated[str, Meta(max_length=16384)] | None = None


class TextFormat(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Plain text, the default."""


class ObjectFormat(msgspec.Struct, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    """Any JSON object."""


class SchemaFormat(msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    """JSON that follows a schema."""

    json_schema: SchemaSpec


Format = TextFormat | ObjectFormat | SchemaFormat


class ChatRequest(sampling.Sampling, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send. What follows `safety_identifier` is known, and refused unless declared."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MESSAGES_MAX)]
    max_completion_tokens: sampling.Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: Format | None = None
    tools: Annotated[list[tooling.ToolSpec], Meta(max_length=tooling.TOOLS_MAX)] | None = None
    tool_choice: tooling.ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[sampling.Label, sampling.Label], Meta(max_length=16)] | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    prompt_cache_key: sampling.Label | None = None
    safety_identifier: sampling.Label | None = None
    modalities: Any = None
    reasoning_effort: Annotated[str, Meta(max_length=32)] | None = None
    verbosity: Annotated[str, Meta(max_length=32)] | None = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    moderation: Any = None
    functions: Any = None
    function_call: Any = None
    prompt_cache_retention: Any = None
    prompt_cache_options: Any = None


class ChatOut(sampling.SamplingOut, kw_only=True, omit_defaults=True):
    """What an engine is sent."""

    messages: list[Turn]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: Format | dict[str, Any] | None = None
    tools: list[tooling.ToolSpec] | None = None
    tool_choice: tooling.ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None


_KNOWN: Final = ChatRequest.__struct_fields__
_DECODER: Final = msgspec.json.Decoder(ChatRequest)
_ENCODER: Final = msgspec.json.Encoder()
_DECLARED: Final = ("reasoning_effort", "verbosity")
_OLD: Final = {"functions": "use 'tools'", "function_call": "use 'tool_choice'"}
_REFUSED: Final = (
    "audio", "prediction", "web_search_options", "moderation", "prompt_cache_retention", "prompt_cache_options", *_OLD
)  # fmt: skip


class ChatCall(Call, kw_only=True):
    """A chat request that has been read. `emulated` and `counting` are valid after `render`.

    `pictures` are those in its messages: where their addresses stand, and these.
    `counting`: log probabilities are asked for only because llama.cpp's usage counts one choice of several.
    """

    request: ChatRequest
    turns: list[Turn]
    pictures: tuple[tuple[str, str], ...] = ()
    emulated: bool = False
    counting: bool = False

    def render(
        self, ability: Ability, upstream_model: str, output_default: int, context_tokens: int
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        request = self.request
        self.check_context(context_tokens)
        rare = _check_ability(request, ability)
        if self.pictures:
            _look(self.pictures, ability)
        limit = min(self.output_max or output_default, context_tokens)
        out = ChatOut(
            model=upstream_model,
            messages=self.turns,
            max_tokens=limit,
            temperature=request.temperature,
            n=request.n,
        )
        if self.salt and ability.dialect == "vllm":
            out.cache_salt = self.salt
        if rare:
            sampling.put_rare(out, request, rare, ability)
        self.counting = self.n > 1 and not self.stream and ability.dialect == "llama_cpp" and not request.logprobs
        if self.counting:
            out.logprobs, out.top_logprobs = True, 1
        if request.logprobs:
            sampling.check_logprobs(self.n, limit, request.top_logprobs or 0)
            out.logprobs, out.top_logprobs = True, request.top_logprobs
        if request.max_completion_tokens is not None and ability.dialect == "openai":
            out.max_tokens, out.max_completion_tokens = None, limit
        if request.reasoning_effort is not None or request.verbosity is not None:
            out.reasoning_effort, out.verbosity = request.reasoning_effort, request.verbosity
        if request.response_format is not None and not isinstance(request.response_format, TextFormat):
            out.response_format = request.response_format
        self._tools(out, ability)
        self.buffered = self.stream and (self.emulated or not ability.stream)
        if self.stream and not self.buffered:
            out.stream, out.stream_options = True, sampling.WITH_USAGE
        return PATH, _ENCODER.encode(out)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:
        """See `Call.finish`."""
        return _ENCODER.encode(self._answer(body, request_id, counts))

    def counts(self, body: bytes, dialect: str) -> Counts | None:
        """See `Call.counts`."""
        counts = super().counts(body, dialect)
        if counts is None or self.n == 1 or dialect != "llama_cpp":
            return counts
        output = answer.tokens_out(body)
        return None if output is None else msgspec.structs.replace(counts, output_tokens=output)

    def finish_stream(self, body: bytes, request_id: str, created_s: int, counts: Counts | None = None) -> list[bytes]:
        """See `Call.finish_stream`."""
        return answer.chat_events(self._answer(body, request_id, counts), created_s, self.include_usage)

    def _tools(self, out: ChatOut, ability: Ability) -> None:
        request = self.request
        self.emulated = False
        if not request.tools and ability.tools:
            return
        if not request.tools or request.tool_choice == "none":
            if not ability.tools:
                out.messages = tooling.plain_turns(self.turns, calls=not request.tools)
            elif request.tools:
                out.tools, out.tool_choice = request.tools, "none"
            return
        if ability.tools:
            out.tools, out.tool_choice = request.tools, request.tool_choice
            out.parallel_tool_calls = request.parallel_tool_calls
            return
        if not ability.json_schema:
            raise unsupported("tools")
        self.emulated = True
        out.messages, schema = tooling.emulate(
            self.turns, request.tools, request.tool_choice, _reply_schema(request.response_format)
        )
        out.logprobs = out.top_logprobs = None
        out.response_format = {
            "type": "json_schema",
            "json_schema": {"name": "tool_call", "schema": schema, "strict": True},
        }

    def _answer(self, body: bytes, request_id: str, counts: Counts | None) -> answer.ChatAnswer:
        made = answer.chat(body, self.model, request_id, counts)
        if self.counting:
            for choice in made.choices:
                choice.logprobs = None
        if self.emulated:
            names = frozenset(tool.function.name for tool in self.request.tools or ())
            for choice in made.choices:
                tooling.rewrite(choice, request_id, names)
        return made


def parse(body: bytes) -> Call:
    """The body of a chat request. Raises Invalid."""
    request = read(_DECODER, body, _KNOWN)
    _check(request)
    turns, size, pictures = [], 0, []
    for index, message in enumerate(request.messages):
        each = turn(message, index)
        turns.append(each)
        size += turn_bytes(each)
        if type(each.content) is list:
            pictures += pictures_of(each, index)
    if request.tools:
        size += tooling.check(request.tools, request.tool_choice)
    output = request.max_completion_tokens if request.max_tokens is None else request.max_tokens
    stream = request.stream is True
    return ChatCall(
        model=request.model,
        task="chat",
        endpoint="chat.completions",
        stream=stream,
        include_usage=stream and request.stream_options is not None and request.stream_options.include_usage is True,
        n=request.n or 1,
        input_bytes=size,
        input_tokens=estimate(size, len(turns)) + PICTURE_TOKENS * len(pictures),
        output_max=output,
        prefix=request.prompt_cache_key.encode() if request.prompt_cache_key else prefix(turns),
        priority=FLEX if request.service_tier == "flex" else INTERACTIVE,
        request=request,
        turns=turns,
        pictures=tuple(pictures),
    )


def _check(request: ChatRequest) -> None:
    """What types cannot say. Cases in the order in which they are told."""
    if request.stream_options is not None:
        sampling.check_stream(request)
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise errors.Invalid("Give 'max_tokens' or 'max_completion_tokens', not both.", param="max_tokens")
    if request.top_logprobs is not None and not request.logprobs:
        raise errors.Invalid("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    if request.store:
        raise unsupported("store", "as true is not supported: answers are not kept")
    for name in sampling.given(request, _REFUSED):
        raise unsupported(name, f"is not supported; {_OLD[name]}") if name in _OLD else unsupported(name)
    if request.modalities is not None and request.modalities != ["text"]:
        raise unsupported("modalities", "other than ['text'] is not supported by this model")
    if request.tool_choice is not None and not request.tools and request.tool_choice not in ("none", "auto"):
        raise errors.Invalid("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    if isinstance(request.response_format, SchemaFormat) and request.response_format.json_schema.schema is not None:
        schemas.check(request.response_format.json_schema.schema, "response_format.json_schema.schema")


def _check_ability(request: ChatRequest, ability: Ability) -> list[str]:
    rare = sampling.check_ability(request, ability)
    if request.reasoning_effort is not None or request.verbosity is not None:
        sampling.refuse_unless(request, _DECLARED, ability)
    if request.logprobs and not ability.logprobs:
        raise unsupported("logprobs")
    if not ability.json_schema and isinstance(request.response_format, ObjectFormat | SchemaFormat):
        raise unsupported("response_format")
    return rare


def _look(pictures: tuple[tuple[str, str], ...], ability: Ability) -> None:
    """Refuse pictures that this model cannot see, or nobody can."""
    if not ability.images:
        raise unseen("image_url", pictures[0][0].removesuffix(".image_url.url"))
    if len(pictures) > PICTURES_MAX:
        raise errors.Invalid(
            f"The messages hold {len(pictures)} pictures; the limit is {PICTURES_MAX}.", param=pictures[-1][0]
        )
    for at, url in pictures:
        media.picture(media.data_url(url, at), ability.media, at)


def turn_bytes(each: Turn) -> int:
    """Bytes of a turn's text and calls. Raises Invalid on a lone surrogate."""
    size = size_of(words(each.content)) if each.content else 0
    if each.tool_calls is not UNSET and each.tool_calls:
        size += sum(size_of(call.function.arguments) + 64 for call in each.tool_calls)
    return size


def prefix(turns: list[Turn]) -> bytes:
    """The beginning of a conversation, for affinity."""
    text = ""
    for each in turns[:8]:
        text = f"{text}\n{each.role}:{words(each.content)[:PREFIX_MAX_BYTES]}"
        if len(text) > PREFIX_MAX_BYTES:
            break
    return text.encode()[1 : 1 + PREFIX_MAX_BYTES]


def _reply_schema(wanted: Format | None) -> dict[str, Any] | None:
    match wanted:
        case SchemaFormat():
            return wanted.json_schema.schema or {"type": "object"}
        case ObjectFormat():
            return {"type": "object"}
        case _:
            return None
