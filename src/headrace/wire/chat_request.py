"""What a client may send to `POST /v1/chat/completions`, with its bounds, and what of it is refused."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability
from headrace.wire import formats, sampling, schemas
from headrace.wire import tools as tooling  # a request has a field of that name
from headrace.wire.messages import Message
from headrace.wire.reading import unsupported

MESSAGES_MAX: Final = 10_000
_DECLARED: Final = ("reasoning_effort", "verbosity")
_OLD: Final = {"functions": "use 'tools'", "function_call": "use 'tool_choice'"}
_REFUSED: Final = (
    "audio", "prediction", "web_search_options", "moderation", "prompt_cache_retention", "prompt_cache_options", *_OLD
)  # fmt: skip


class ChatRequest(sampling.Sampling, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send. What follows `safety_identifier` is known, and refused unless declared."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MESSAGES_MAX)]
    max_completion_tokens: sampling.Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: formats.Format | None = None
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


def check(request: ChatRequest) -> None:
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
    if (
        isinstance(request.response_format, formats.SchemaFormat)
        and request.response_format.json_schema.schema is not None
    ):
        schemas.check(request.response_format.json_schema.schema, "response_format.json_schema.schema")


def check_ability(request: ChatRequest, ability: Ability) -> list[str]:
    """Refuse what an engine has not declared; the names of rare fields that are given."""
    rare = sampling.check_ability(request, ability)
    if request.reasoning_effort is not None or request.verbosity is not None:
        sampling.refuse_unless(request, _DECLARED, ability)
    if request.logprobs and not ability.logprobs:
        raise unsupported("logprobs")
    if not ability.generates and isinstance(request.response_format, formats.ObjectFormat | formats.SchemaFormat):
        raise unsupported("response_format")
    return rare
