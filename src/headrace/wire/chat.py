"""`POST /v1/chat/completions`: a request as a call, what of it an engine is sent, and how its answer is told."""

import copy
from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec
from msgspec import UNSET

from headrace import errors
from headrace.state.request import FLEX, INTERACTIVE
from headrace.state.table import Ability
from headrace.wire import answer, choices, formats, instructed, media, sampling
from headrace.wire import tools as tooling  # a request has a field of that name
from headrace.wire.call import ONCE, PREFIX_MAX_BYTES, Asking, Call, Joined, estimate
from headrace.wire.chat_request import ChatRequest, check, check_ability
from headrace.wire.messages import Turn, turn, unseen, words
from headrace.wire.messages import pictures as pictures_of
from headrace.wire.reading import read, size_of, unsupported
from headrace.wire.usage import Counts

PATH: Final = "/v1/chat/completions"
PICTURES_MAX: Final = 16
PICTURE_TOKENS: Final = 1_024  # what a picture is taken for before an engine has counted


class ChatOut(sampling.SamplingOut, kw_only=True, omit_defaults=True):
    """What an engine is sent."""

    messages: list[Turn]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: formats.Format | dict[str, Any] | None = None
    tools: list[tooling.ToolSpec] | None = None
    tool_choice: tooling.ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None


_KNOWN: Final = ChatRequest.__struct_fields__
_DECODER: Final = msgspec.json.Decoder(ChatRequest)
_ENCODER: Final = msgspec.json.Encoder()


class ChatCall(Call, kw_only=True):
    """A chat request that has been read. `emulated`, `counting` and `wanted` are valid after `render`.

    `pictures` are those in its messages: where their addresses stand, and these.
    `counting`: log probabilities are asked for only because llama.cpp's usage counts one choice of several.
    `wanted` is the schema that an answer must be checked by, since its engine is not held to it. Of a part, `among` is
    how many choices there are, `tried` how often it was asked for before, and `complaint` what was said then.
    """

    request: ChatRequest
    turns: list[Turn]
    pictures: tuple[tuple[str, str], ...] = ()
    emulated: bool = False
    counting: bool = False
    wanted: dict[str, Any] | None = None
    among: int = 1
    tried: int = 0
    complaint: tuple[Turn, ...] = ()

    def asking(self, ability: Ability) -> Asking:
        """See `Call.asking`. An answer that must be checked is checked choice by choice."""
        request = self.request
        free = request.response_format is None and not request.tools
        trusted = free or (ability.json_schema and not ability.plain_schemas)
        if (trusted and ability.choices(self.n)) or not ability.generates:
            return ONCE
        schema = None if trusted else self._unheld(ability)
        if schema is None:
            return ONCE if ability.choices(self.n) else Asking(side=self.n)
        return Asking(self.n, instructed.TRIES, instructed.bytes_of(schema))

    def parts(self, ability: Ability) -> "Sequence[ChatCall]":
        """See `Call.parts`. Part number i has the seed that was given, plus i."""
        side, tries, _ = self.asking(ability)
        return [self._part(place, self.n // side, checked=tries > 1) for place in range(side)]

    def again(self, body: bytes) -> "ChatCall | None":
        """See `Call.again`. JSON that its token limit cut says so; a call of the engine's own tools is no JSON."""
        if self.wanted is None:
            return None
        choice = answer.chat(body, self.model, "", None).choices[0]
        if choice.message.tool_calls:
            return None
        text = choice.message.content or ""
        _, problem = instructed.kept(text, self.wanted)
        if not problem or (choice.finish_reason == "length" and instructed.begun(text)):
            return None
        if self.tried + 1 >= instructed.TRIES:
            raise instructed.unmet(problem)
        made = copy.copy(self)
        made.tried, made.patience_us = made.tried + 1, 0
        made.complaint = tuple(instructed.complaint(text, problem, None if self.emulated else self.wanted))
        return made

    def join(self, answers: Sequence[tuple[Self, bytes]], request_id: str, created_s: int, counts: Counts) -> Joined:
        """See `Call.join`."""
        made = [part._answer(body, f"{request_id}-{part.place}", None) for part, body in answers]
        for (part, _), each in zip(answers, made, strict=True):
            for choice in each.choices:
                choice.index += part.place or 0
        whole = made[0]
        whole.choices = [choice for each in made for choice in each.choices]
        whole.id, whole.usage = f"chatcmpl-{request_id}", counts.usage()
        if self.stream:
            return Joined(events=self.retold(whole, request_id, created_s, counts))
        return Joined(self.told(whole, request_id, counts))

    def render(
        self, ability: Ability, upstream_model: str, output_default: int, context_tokens: int
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        request = self.request
        self.check_context(context_tokens)
        rare = check_ability(request, ability)
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
            sampling.check_logprobs(max(self.n, self.among), limit, request.top_logprobs or 0)
            out.logprobs, out.top_logprobs = True, request.top_logprobs
        if request.max_completion_tokens is not None and ability.dialect == "openai":
            out.max_tokens, out.max_completion_tokens = None, limit
        if request.reasoning_effort is not None or request.verbosity is not None:
            out.reasoning_effort, out.verbosity = request.reasoning_effort, request.verbosity
        if request.response_format is not None:
            out.response_format = formats.enforced(request.response_format)
        self._tools(out, ability)
        self.wanted = None
        if not formats.held(ability, out.response_format):
            self._tell(out)
        self.buffered = self.stream and (self.emulated or not ability.stream)
        if self.stream and not self.buffered:
            out.stream, out.stream_options = True, sampling.WITH_USAGE
        return PATH, _ENCODER.encode(out)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:
        """See `Call.finish`."""
        made = self._answer(body, request_id, counts)
        if self.place is None:
            return self.told(made, request_id, counts)
        choices.check(len(made.choices), self.n)
        return body

    def counts(self, body: bytes, dialect: str) -> Counts | None:
        """See `Call.counts`."""
        counts = super().counts(body, dialect)
        if counts is None or self.n == 1 or dialect != "llama_cpp":
            return counts
        output = answer.tokens_out(body)
        return None if output is None else msgspec.structs.replace(counts, output_tokens=output)

    def finish_stream(self, body: bytes, request_id: str, created_s: int, counts: Counts | None = None) -> list[bytes]:
        """See `Call.finish_stream`."""
        return self.retold(self._answer(body, request_id, counts), request_id, created_s, counts)

    def told(self, made: answer.ChatAnswer, request_id: str, counts: Counts | None) -> bytes:  # noqa: ARG002 - for the APIs that name and count by them
        """An answer as the API that was asked tells it. Raises Transient."""
        return _ENCODER.encode(made)

    def retold(
        self,
        made: answer.ChatAnswer,
        request_id: str,  # noqa: ARG002 - as above
        created_s: int,
        counts: Counts | None,  # noqa: ARG002 - as above
    ) -> list[bytes]:
        """The same as the stream that was asked for."""
        return answer.chat_events(made, created_s, self.include_usage)

    def _part(self, place: int, n: int, *, checked: bool) -> "ChatCall":
        made = copy.copy(self)
        made.place, made.n, made.among = place, n, self.n
        made.request = msgspec.structs.replace(
            self.request, n=n if n > 1 else None, seed=choices.seed_of(self.request.seed, place)
        )
        made.include_usage = False
        made.stream = self.stream and not checked
        if place:
            made.prefix = b""  # parts are for different replicas; the first goes where the beginning is known
        return made

    def _unheld(self, ability: Ability) -> dict[str, Any] | None:
        """The schema of the answer that the engine would not be held to; None when it is, or for plain text."""
        out = ChatOut(model="", messages=[])
        out.response_format = formats.enforced(self.request.response_format)
        self._tools(out, ability)
        return None if formats.held(ability, out.response_format) else formats.schema_of(out.response_format)

    def _tell(self, out: ChatOut) -> None:
        """The engine is not held to the form: it is told, and its answer will be checked."""
        self.wanted = formats.schema_of(out.response_format) or {}
        instructed.check(self.wanted, "tools" if self.emulated else "response_format")
        out.response_format = None
        if not self.emulated:
            out.messages = instructed.told(out.messages, self.wanted)
        out.messages = [*out.messages, *self.complaint]

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
        if not ability.generates:
            raise unsupported("tools")
        self.emulated = True
        out.messages, schema = tooling.emulate(
            self.turns, request.tools, request.tool_choice, formats.reply_schema(request.response_format)
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
        if self.wanted is not None:
            for choice in made.choices:
                _strip(choice, self.wanted)
        if self.emulated:
            names = frozenset(tool.function.name for tool in self.request.tools or ())
            for choice in made.choices:
                tooling.rewrite(choice, request_id, names)
        return made


def parse(body: bytes) -> Call:
    """The body of a chat request. Raises Invalid."""
    request = read(_DECODER, body, _KNOWN)
    check(request)
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


def _strip(choice: answer.Choice, schema: dict[str, Any]) -> None:
    """Leave the JSON of an answer that is checked, and nothing around it; it is whole even if that was cut."""
    text = choice.message.content or ""
    found, _ = instructed.kept(text, schema)
    if found and found != text:
        choice.message.content, choice.logprobs, choice.finish_reason = found, None, "stop"
