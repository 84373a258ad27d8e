"""Parameters that chat and completions share: their bounds, and which an engine must declare before they are sent."""

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability
from headrace.wire.reading import unsupported

Model = Annotated[str, Meta(min_length=1, max_length=256)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
Choices = Annotated[int, Meta(ge=1, le=16)]
Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Label = Annotated[str, Meta(max_length=1024)]
_StopWord = Annotated[str, Meta(min_length=1, max_length=256)]
Stop = _StopWord | Annotated[list[_StopWord], Meta(max_length=4)]
_TokenId = Annotated[str, Meta(pattern="^[0-9]{1,7}$")]
LogitBias = Annotated[dict[_TokenId, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]

LOGPROBS_MAX: Final = 200_000  # choices x tokens x alternatives: tens of MB of answer

# Beyond OpenAI's own: engines that take them declare them in `Ability.parameters`.
EXTRAS: Final = ("top_k", "min_p", "typical_p", "ignore_eos", "repetition_penalty", "min_tokens")


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """`stream_options`. vLLM's and guidellm's continuous usage and OpenAI's padding are for links we do not have."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class Sampling(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The shared part of both requests."""

    model: Model
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    n: Choices | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    user: Label | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1_000_000)] | None = None
    min_p: TopP | None = None
    typical_p: TopP | None = None
    ignore_eos: bool | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None


class SamplingOut(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The shared part of what is sent to an engine; nothing else of a request ever is."""

    model: str
    stream: bool = False
    stream_options: dict[str, bool] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    ignore_eos: bool | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    cache_salt: str | None = None


WITH_USAGE: Final = {"include_usage": True}


def check_stream(request: Sampling) -> None:
    """`stream_options` without `stream` is a mistake OpenAI refuses."""
    if request.stream_options is not None and not request.stream:
        raise errors.Invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )


def check_ability(request: Sampling, ability: Ability) -> list[str]:
    """Refuse by name what the engine has not declared; which of the rarely given parameters are given."""
    if request.n is not None and not ability.choices(request.n):
        raise unsupported("n", f"above {max(1, ability.n_max)} is not supported by this model")
    rare = given(request, _RARE)
    for name in rare:
        if name in EXTRAS and name not in ability.parameters and _ALIASES.get(name) not in ability.parameters:
            raise unsupported(name)
    return rare


def refuse_unless(request: msgspec.Struct, names: tuple[str, ...], ability: Ability) -> None:
    """Refuse those of `names` that are given and not declared by the engine."""
    for name in given(request, names):
        if name not in ability.parameters:
            raise unsupported(name)


def check_logprobs(choices: int, tokens: int, alternatives: int) -> None:
    """The product of three allowed numbers is bounded too."""
    if choices * tokens * (alternatives + 1) > LOGPROBS_MAX:
        raise errors.Invalid(
            f"n x max_tokens x (top_logprobs + 1) is {choices * tokens * (alternatives + 1)}; the limit is "
            f"{LOGPROBS_MAX}. Lower one of them.",
            param="top_logprobs",
        )


def put_rare(out: SamplingOut, request: Sampling, rare: list[str], ability: Ability) -> None:
    """The parameters that `check_ability` found, by the names the engine has for them."""
    for name in rare:
        theirs = name if name in ability.parameters else _ALIASES.get(name, name)
        setattr(out, theirs, getattr(request, name))


def given(request: msgspec.Struct, names: tuple[str, ...]) -> list[str]:
    """Those of `names` that the request has a value for; asked often, and nearly always none."""
    getter, nothing = _getters.get(names) or _getters.setdefault(names, (attrgetter(*names), (None,) * len(names)))
    values = getter(request)
    if values == nothing:
        return []
    return [name for name, value in zip(names, values, strict=True) if value is not None]


_getters: dict[tuple[str, ...], tuple[Callable[[msgspec.Struct], tuple[Any, ...]], tuple[None, ...]]] = {}


_RARE: Final = ("presence_penalty", "frequency_penalty", "logit_bias", "seed", "stop", "top_p", *EXTRAS)
_ALIASES: Final = {"repetition_penalty": "repeat_penalty"}  # vLLM's name: llama.cpp's
