"""`POST /v1/completions`: the older form, one prompt or several, texts or tokens."""

import copy
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from headrace import errors
from headrace.state.table import Ability
from headrace.wire import answer, choices, sampling
from headrace.wire.call import ONCE, PREFIX_MAX_BYTES, Asking, Call, Joined, estimate
from headrace.wire.reading import flat, read, size_of, unsupported
from headrace.wire.usage import Counts

PATH: Final = "/v1/completions"
PROMPTS_MAX: Final = 64
_CHOICES_MAX: Final = 128  # prompts x n

_Tokens = Annotated[list[sampling.TokenId], Meta(max_length=1_000_000)]
Prompt = str | Annotated[list[str | sampling.TokenId | _Tokens], Meta(min_length=1, max_length=1_000_000)]


class CompletionRequest(sampling.Sampling, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send; `suffix`, `echo` and `best_of` are known, and refused where they would matter."""

    prompt: Prompt
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None


class CompletionOut(sampling.SamplingOut, kw_only=True, omit_defaults=True):
    """What an engine is sent."""

    prompt: Any
    logprobs: int | None = None


_DECODER: Final = msgspec.json.Decoder(CompletionRequest)


class CompletionCall(Call, kw_only=True):
    """A completion request that has been read. `n` counts the choices over all prompts, which are the items.

    `counting` as for chat: log probabilities asked for only to count.
    """

    request: CompletionRequest
    counting: bool = False
    among: int = 1

    def asking(self, ability: Ability) -> Asking:
        """See `Call.asking`."""
        if ability.choices(self.request.n or 1) or not ability.completions:
            return ONCE
        return Asking(side=self.n)

    def parts(self, ability: Ability) -> "Sequence[CompletionCall]":
        """See `Call.parts`. A part is one choice of one prompt, the i-th with the seed that was given, plus i."""
        if self.asking(ability).side == 1:
            return [self._part(0, self.request.prompt, self.n)]
        copies, prompts = self.request.n or 1, flat(self.request.prompt)
        return [self._part(place, prompts[place // copies], 1) for place in range(self.n)]

    def join(self, answers: Sequence[tuple[Self, bytes]], request_id: str, created_s: int, counts: Counts) -> Joined:
        """See `Call.join`."""
        made = [part._answer(body, request_id, None) for part, body in answers]
        for (part, _), each in zip(answers, made, strict=True):
            for choice in each.choices:
                choice.index += part.place or 0
        whole = made[0]
        whole.choices = [choice for each in made for choice in each.choices]
        whole.id, whole.usage = f"cmpl-{request_id}", counts.usage()
        if self.stream:
            return Joined(events=answer.text_events(whole, created_s, self.include_usage))
        return Joined(msgspec.json.encode(whole))

    def render(
        self, ability: Ability, upstream_model: str, output_default: int, context_tokens: int
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        request = self.request
        if not ability.completions:
            raise errors.Invalid(
                "This model does not serve /v1/completions. Use /v1/chat/completions.", code="unsupported_endpoint"
            )
        self.check_context(context_tokens * max(1, self.items))
        rare = sampling.check_ability(request, ability)
        limit = min(self.output_max or output_default, context_tokens)
        if request.logprobs is not None:
            if not ability.logprobs:
                raise unsupported("logprobs")
            sampling.check_logprobs(max(self.n, self.among), limit, request.logprobs)
        llama = ability.dialect == "llama_cpp"
        self.counting = llama and self.n > 1 and self.items == 1 and not self.stream and request.logprobs is None
        # llama.cpp gives the log probabilities of chat, which only a whole answer can be rid of.
        recoded = llama and request.logprobs is not None
        self.buffered = self.stream and (recoded or not ability.stream)
        streaming = self.stream and not self.buffered
        out = CompletionOut(
            model=upstream_model,
            prompt=request.prompt,
            max_tokens=limit,
            temperature=request.temperature,
            n=request.n,
            logprobs=1 if self.counting else request.logprobs,
            stream=streaming,
            stream_options=sampling.WITH_USAGE if streaming else None,
        )
        if self.salt and ability.dialect == "vllm":
            out.cache_salt = self.salt
        sampling.put_rare(out, request, rare, ability)
        return PATH, msgspec.json.encode(out)

    def counts(self, body: bytes, dialect: str) -> Counts | None:
        """See `Call.counts`. Of several prompts llama.cpp's usage has one, so there is no count to believe."""
        counts = super().counts(body, dialect)
        if counts is None or self.n == 1 or dialect != "llama_cpp":
            return counts
        output = answer.tokens_out(body) if self.items == 1 else None
        return None if output is None else msgspec.structs.replace(counts, output_tokens=output)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:
        """See `Call.finish`."""
        made = self._answer(body, request_id, counts)
        if self.place is None:
            return msgspec.json.encode(made)
        choices.check(len(made.choices), self.n)
        return body

    def finish_stream(self, body: bytes, request_id: str, created_s: int, counts: Counts | None = None) -> list[bytes]:
        """See `Call.finish_stream`."""
        return answer.text_events(self._answer(body, request_id, counts), created_s, self.include_usage)

    def _part(self, place: int, prompt: Any, n: int) -> "CompletionCall":
        made, one = copy.copy(self), n == 1
        made.place, made.n, made.among, made.include_usage = place, n, self.n, False
        copy_of = place % (self.request.n or 1)
        made.request = msgspec.structs.replace(
            self.request, prompt=prompt, n=None if one else self.request.n, best_of=None,
            seed=choices.seed_of(self.request.seed, copy_of),
        )  # fmt: skip
        if one:
            made.items, made.input_bytes = 1, _size(prompt)
            made.input_tokens = estimate(made.input_bytes)
        if place:
            made.prefix = b""  # parts are for different replicas
        return made

    def _answer(self, body: bytes, request_id: str, counts: Counts | None) -> answer.TextAnswer:
        made = answer.text(body, self.model, request_id, counts)
        if self.counting:
            for choice in made.choices:
                choice.logprobs = answer.NULL
        return made


def parse(body: bytes) -> Call:
    """The body of a completion request. Raises Invalid."""
    request = read(_DECODER, body, CompletionRequest.__struct_fields__)
    _check(request)
    try:
        prompts = flat(request.prompt)
    except ValueError as error:
        raise errors.Invalid(f"Invalid value for 'prompt': {error}.", param="prompt") from None
    if len(prompts) > PROMPTS_MAX or len(prompts) * (request.n or 1) > _CHOICES_MAX:
        raise errors.Invalid(
            f"{len(prompts)} prompts with n={request.n or 1} are too many; the limits are {PROMPTS_MAX} prompts and "
            f"{_CHOICES_MAX} choices.",
            param="prompt",
        )
    size = sum(map(_size, prompts))
    stream = request.stream is True
    return CompletionCall(
        model=request.model,
        task="chat",
        endpoint="completions",
        stream=stream,
        include_usage=stream and request.stream_options is not None and request.stream_options.include_usage is True,
        n=(request.n or 1) * len(prompts),
        items=len(prompts),
        input_bytes=size,
        input_tokens=estimate(size, len(prompts)),
        output_max=request.max_tokens,
        prefix=str(prompts[0][:PREFIX_MAX_BYTES]).encode()[:PREFIX_MAX_BYTES],
        request=request,
    )


def _size(prompt: str | list[int]) -> int:
    return size_of(prompt) if isinstance(prompt, str) else 3 * len(prompt)


def _check(request: CompletionRequest) -> None:
    sampling.check_stream(request)
    if request.suffix:
        raise unsupported("suffix")
    if request.echo:
        raise unsupported("echo", "as true is not supported by this model")
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise unsupported("best_of", "other than 'n' is not supported by this model")
