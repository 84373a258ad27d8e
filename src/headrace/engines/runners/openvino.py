"""A replica for chat and completions on OpenVINO: OpenAI's request forms over `generation`.

Started by `engines.openvino.command`. What it cannot do is refused by name.
"""

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec
import openvino_genai as genai

from headrace.engines.runners import words
from headrace.engines.runners.generation import Found, Generator, Job
from headrace.engines.runners.pieces import Text
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid
from headrace.wire import plain_schema

_CHOICES_MAX: Final = 128
_SEED_BITS: Final = 31
_DONE: Final = b"data: [DONE]\n\n"


class Sampling(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What both request forms share."""

    model: str = ""
    stream: bool = False
    stream_options: dict[Literal["include_usage"], bool] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=_CHOICES_MAX)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
    top_k: int | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    ignore_eos: bool | None = None
    user: str | None = None


class JsonSchema(msgspec.Struct):
    """The schema of a response format."""

    schema: dict[str, Any] = {}


class ResponseFormat(msgspec.Struct):
    """`text`, `json_object` or `json_schema`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    response_format: ResponseFormat | None = None


class CompletionRequest(Sampling, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/completions. `prompt` is a text, token ids, or a list of either."""

    prompt: str | list[str | int | list[int]]


@dataclass(slots=True)
class Answer:
    """One request being answered: its name, its choices and what it has cost so far."""

    id: str
    chat: bool
    model: str
    prompts: list[list[int]]
    settings: list[Any]
    stops: list[str]
    met: dict[int, str] = field(default_factory=dict)  # stop texts that choices ended at
    created: int = field(default_factory=lambda: int(time.time()))
    began: float = field(default_factory=time.monotonic)
    first: float = 0.0
    tokens: int = 0

    def usage(self) -> dict[str, Any]:
        """Token counts, and the engine's own times in microseconds."""
        now, prompt = time.monotonic(), sum(map(len, self.prompts))
        first = self.first or now
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.tokens,
            "total_tokens": prompt + self.tokens,
            "prefill_us": round(1e6 * (first - self.began)),
            "decode_us": round(1e6 * (now - first)),
        }

    def part(self, index: int, shown: str | dict[str, Any], reason: str | None = None) -> bytes:
        """One event of one choice: a text, or for chat a whole delta."""
        made = self._end(index, reason)
        if self.chat:
            made["delta"] = {"content": shown} if isinstance(shown, str) else shown
        else:
            made["text"] = shown
        return self.event([made])

    def event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        """One event of a stream."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return b"data: " + msgspec.json.encode(self._head(kind) | {"choices": choices} | more) + b"\n\n"

    def choice(self, index: int, text: str, reason: str) -> dict[str, Any]:
        """One whole choice."""
        made = self._end(index, reason)
        if self.chat:
            return made | {"message": {"role": "assistant", "content": text, "refusal": None}}
        return made | {"text": text}

    def _end(self, index: int, reason: str | None) -> dict[str, Any]:
        """A choice of which nothing is told but why it ended; which stop text it met, as vLLM tells it."""
        made: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": reason}
        if reason and index in self.met:
            made["stop_reason"] = self.met[index]
        return made

    def whole(self, choices: list[dict[str, Any]]) -> bytes:
        """The answer that is not streamed."""
        kind = "chat.completion" if self.chat else "text_completion"
        return msgspec.json.encode(self._head(kind) | {"choices": choices, "usage": self.usage()})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class Runner:
    """The routes of one replica."""

    def __init__(self, generator: Generator, alias: str, context: int) -> None:
        self.generator, self.alias, self.context = generator, alias, context

    async def chat(self, exchange: Exchange) -> None:
        """POST /v1/chat/completions."""
        request = decode(exchange.body, ChatRequest)
        if not request.messages:
            raise Invalid("messages is empty; give at least one", param="messages")
        text = self.generator.chat_prompt([{"role": "user", "content": ""} | turn for turn in request.messages])
        limit = request.max_completion_tokens or request.max_tokens
        settings = sampling(request, schema=_schema(request.response_format))
        answer = self._answer(request, "chatcmpl", [self.generator.encode(text)], settings, limit)
        await self._respond(exchange, request, answer)

    async def completions(self, exchange: Exchange) -> None:
        """POST /v1/completions."""
        request = decode(exchange.body, CompletionRequest)
        prompts = [self.generator.encode(given) if isinstance(given, str) else given for given in _flat(request.prompt)]
        answer = self._answer(request, "cmpl", prompts, sampling(request), request.max_tokens or 16)
        await self._respond(exchange, request, answer)

    def _answer(
        self, request: Sampling, prefix: str, prompts: list[list[int]], settings: Any, limit: int | None
    ) -> Answer:
        copies = request.n or 1
        if len(prompts) * copies > _CHOICES_MAX:
            raise Invalid(f"prompts times n is {len(prompts) * copies}; at most {_CHOICES_MAX}", param="n")
        for tokens in prompts:
            if not 0 < len(tokens) < self.context:
                raise Invalid(
                    f"the prompt has {len(tokens)} tokens; this model takes 1 to {self.context - 1}. Shorten it",
                    code="context_length_exceeded",
                )
        room = min(self.context - len(tokens) for tokens in prompts)
        settings["max_new_tokens"] = min(limit or room, room)
        seed = secrets.randbits(_SEED_BITS) if request.seed is None else request.seed % (1 << _SEED_BITS)
        each = [
            genai.GenerationConfig(**settings, rng_seed=(seed + copy) % (1 << _SEED_BITS))
            for _ in prompts
            for copy in range(copies)
        ]
        stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
        name = f"{prefix}-{secrets.token_urlsafe(18)}"
        return Answer(name, prefix == "chatcmpl", self.alias, prompts, each, [stop for stop in stops if stop])

    async def _respond(self, exchange: Exchange, request: Sampling, answer: Answer) -> None:
        copies = len(answer.settings) // len(answer.prompts)
        out: asyncio.Queue[Found] = asyncio.Queue()
        jobs: list[Job] = []
        try:
            for index, settings in enumerate(answer.settings):
                jobs.append(self.generator.start(answer.prompts[index // copies], settings, index, out))
            if request.stream:
                await self._stream(exchange, request, answer, self._pieces(answer, jobs, out))
                return
            texts, reasons = [""] * len(jobs), [""] * len(jobs)
            async for index, shown, reason in self._pieces(answer, jobs, out):
                texts[index] += shown
                reasons[index] = reason
            exchange.json(answer.whole(list(map(answer.choice, range(len(jobs)), texts, reasons))))
        finally:
            for job in jobs:
                self.generator.stop(job)

    async def _pieces(
        self, answer: Answer, jobs: list[Job], out: "asyncio.Queue[Found]"
    ) -> AsyncIterator[tuple[int, str, str]]:
        """(choice, new text, reason) as they come, until every choice has got its reason."""
        texts, piece_of = [Text(answer.stops) for _ in jobs], self.generator.vocabulary.piece
        waiting = set(range(len(jobs)))
        while waiting:
            index, ids, reason = await out.get()
            if index not in waiting:
                continue
            text = texts[index]
            answer.first = answer.first or time.monotonic()
            answer.tokens += len(ids)
            shown = "".join([text.add(piece_of(token)) for token in ids])
            if reason and not text.met:
                shown += text.add(b"", last=True)
            if text.met:
                reason, answer.met[index] = "stop", text.met
                self.generator.stop(jobs[index])
            if reason:
                waiting.discard(index)
            if shown or reason:
                yield index, shown, reason

    async def _stream(
        self,
        exchange: Exchange,
        request: Sampling,
        answer: Answer,
        pieces: AsyncIterator[tuple[int, str, str]],
    ) -> None:
        exchange.open()
        if answer.chat:
            for index in range(len(answer.settings)):
                await exchange.send(answer.part(index, {"role": "assistant", "content": ""}))
        async for index, shown, reason in pieces:
            events = answer.part(index, shown) if shown else b""
            if reason:
                events += answer.part(index, {} if answer.chat else "", reason)
            await exchange.send(events)
        if request.stream_options and request.stream_options.get("include_usage"):
            await exchange.send(answer.event([], usage=answer.usage()))
        await exchange.send(_DONE)
        exchange.close()


def decode(body: bytes, kind: Any) -> Any:
    """A request of that struct. Raises Invalid that names the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(str(error)) from error


def sampling(request: Sampling, schema: str = "") -> dict[str, Any]:
    """The engine's settings; OpenAI's defaults where nothing is given."""
    warmth = 1.0 if request.temperature is None else request.temperature
    settings: dict[str, Any] = {"do_sample": warmth > 0, "ignore_eos": bool(request.ignore_eos)}
    if warmth > 0:
        settings |= {"temperature": warmth, "top_p": max(request.top_p if request.top_p is not None else 1.0, 1e-6)}
        if request.top_k is not None and request.top_k > 0:
            settings["top_k"] = request.top_k
        if request.min_p is not None:
            settings["min_p"] = request.min_p
    for name in ("presence_penalty", "frequency_penalty", "repetition_penalty"):
        if (value := getattr(request, name)) is not None:
            settings[name] = value
    if schema:
        settings["structured_output_config"] = genai.StructuredOutputConfig(json_schema=schema)
    return settings


def _schema(wanted: ResponseFormat | None) -> str:
    if wanted is None or wanted.type == "text":
        return ""
    if wanted.type == "json_object":
        return '{"type":"object"}'
    if wanted.json_schema is None:
        raise Invalid("response_format.json_schema is missing; give {name, schema}", param="response_format")
    return json.dumps(plain_schema.plain(wanted.json_schema.schema or {"type": "object"}))


def _flat(given: str | list[Any]) -> list[Any]:
    if isinstance(given, str) or (given and all(isinstance(entry, int) for entry in given)):
        return [given]
    if not given or any(isinstance(entry, int) for entry in given):
        raise Invalid("prompt must be a text, token ids, or a list of either", param="prompt")
    return given


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", numbers=("context",))
    generator = Generator(given.weights, given.slots, given.context, given.threads)
    asyncio.run(_serve(Runner(generator, given.alias, given.context), given.listen, began))
    os._exit(0)  # the pipeline's destructor has nothing to give back


async def _serve(runner: Runner, path: str, began: float) -> None:
    def load() -> dict[str, int]:
        running, slots = runner.generator.running, runner.generator.slots
        return {"running": min(running, slots), "waiting": max(0, running - slots), "slots": slots}

    routes = {("POST", "/v1/chat/completions"): runner.chat, ("POST", "/v1/completions"): runner.completions}
    await serve(Server(routes, load), path, began)


if __name__ == "__main__":
    main()
