"""Pipelines in Python: `from headrace import pipeline, step, chat, embed, rerank`.

Ordinary async functions. What a `step` returns is journaled under its name and inputs; a run that begins again gets
it from the journal. Between steps the code must not depend on time or chance; in a step it may.
"""

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from headrace.errors import Invalid
from headrace.pipelines import artifacts
from headrace.pipelines.context import Ask, Context, Patience
from headrace.units import duration_us, nanousd

_RUN: contextvars.ContextVar[Context] = contextvars.ContextVar("run")


class At(NamedTuple):
    """What asks: its place, how patiently, what instead, and the agent whose bounds hold."""

    place: str
    patience: Patience
    or_else: tuple[dict[str, Any], ...] = ()
    scope: str = ""


_AT: contextvars.ContextVar[At] = contextvars.ContextVar("at")


class Body(Protocol):
    """The function of a pipeline or a step."""

    __name__: str

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Run it."""
        ...


class StepFunction:
    """A step. Call it, or `map` it over inputs side by side; results keep the order."""

    def __init__(self, body: Body, patience: Patience, or_else: tuple[dict[str, Any], ...], cache_us: int) -> None:
        functools.update_wrapper(self, body)
        self.body, self.patience, self.or_else, self.cache_us = body, patience, or_else, cache_us
        self.name = body.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """The step's result."""
        return self._done(self.name, args, kwargs)

    async def _done(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run = current()

        async def work(place: str) -> Any:
            with asking(At(place, self.patience, self.or_else)):
                return await self.body(*args, **kwargs)

        async def known(place: str) -> Any:
            subject = [run.run.started.version, self.name, args, kwargs]
            return await run.cached(name, subject, self.cache_us, lambda: work(place))

        return await run.step(name, [args, kwargs], known if self.cache_us else work)

    async def map(self, *inputs: Iterable[Any]) -> list[Any]:
        """The step once for each of the inputs, at once as far as the run's width, money and time allow."""
        rows = list(zip(*inputs, strict=True))
        tasks = [asyncio.ensure_future(self._done(f"{self.name}[{i}]", row, {})) for i, row in enumerate(rows)]
        return await together(tasks)

    async def first(self, good: Callable[[Any], bool], *inputs: Iterable[Any]) -> Any:
        """The first result that is good enough; the others are cancelled. The last one where none is."""
        rows = list(zip(*inputs, strict=True))
        tasks = [asyncio.ensure_future(self._done(f"{self.name}[{i}]", row, {})) for i, row in enumerate(rows)]
        return await first_good(tasks, good)


class PipelineFunction:
    """A pipeline: what `headrace pipeline run FILE.py` starts."""

    def __init__(self, body: Body, cap_nanousd: int, time_us: int, width: int) -> None:
        self.__doc__ = body.__doc__
        self.body, self.name = body, body.__name__
        self.cap_nanousd, self.time_us, self.width = cap_nanousd, time_us, width

    async def run(self, context: Context, inputs: dict[str, Any]) -> Any:
        """Its result, within a run."""
        token = _RUN.set(context)
        try:
            return await self.body(**inputs)
        finally:
            _RUN.reset(token)


def step(
    *, retries: int = 2, timeout: str = "60s", or_else: Iterable[dict[str, Any]] = (), cache: str | None = None
) -> Callable[[Body], StepFunction]:
    """Make a step of a function. `or_else`: fields of its calls to change when the worst case is not affordable.

    `cache`: how long other runs of the tenant may use its result, while the file and the inputs are the same.
    """
    patience, cache_us = Patience(retries=retries, timeout_us=duration_us(timeout)), duration_us(cache) if cache else 0
    return lambda body: StepFunction(body, patience, tuple(or_else), cache_us)


def pipeline(*, cost: str, time: str = "5m", width: int = 4) -> Callable[[Body], PipelineFunction]:
    """Make a pipeline of a function: at most so many dollars, so long, so many calls at once."""
    if nanousd(cost) <= 0 or width < 1:
        raise Invalid(f"cost {cost!r} and width {width} must be above 0")
    return lambda body: PipelineFunction(body, nanousd(cost), duration_us(time), width)


Artifact = dict[str, Any]  # the mention of a picture or a sound; see `artifacts`


async def chat(
    model: str,
    prompt: str,
    *,
    system: str = "",
    schema: dict[str, Any] | None = None,
    images: "Sequence[Artifact]" = (),
    **more: Any,
) -> Any:
    """What a chat model answers: text, or with a JSON schema the value. `more` are fields of the request."""
    body = chat_body(model, prompt_of(prompt, images), system, schema, more)
    return read_chat(await _ask("/v1/chat/completions", body), schema)


async def embed(model: str, texts: list[str]) -> list[list[float]]:
    """One vector a text."""
    return read_vectors(await _ask("/v1/embeddings", {"model": model, "input": texts, "encoding_format": "float"}))


async def rerank(model: str, query: str, documents: list[str], top: int | None = None) -> list[dict[str, Any]]:
    """The documents by how well they fit: `index`, `score` and `text` of each."""
    body = {"model": model, "query": query, "documents": documents, "top_n": top or len(documents)}
    return read_ranks(await _ask("/v1/rerank", body), documents)


async def image(model: str, prompt: str, **more: Any) -> Artifact:
    """A picture of words. `more` are fields of the request, like size="512x512" and seed."""
    body = {"model": model, "prompt": prompt, "response_format": "b64_json", **more}
    return read_picture(await _ask("/v1/images/generations", body))


async def upscale(model: str, picture: Artifact, scale: int = 2) -> Artifact:
    """The picture, so many times as wide and as high."""
    return read_picture(await _ask("/v1/images/upscale", {"model": model, "image": picture, "scale": scale}))


async def transcribe(model: str, audio: Artifact, **more: Any) -> dict[str, Any]:
    """What was said in a recording: `text`, `language`, `duration`, and `segments` with their times in seconds."""
    body = {"model": model, "file": audio, "response_format": "verbose_json", **more}
    return read_transcript(await _ask("/v1/audio/transcriptions", body, form=True))


async def speak(model: str, text: str, voice: str = "alloy", **more: Any) -> Artifact:
    """The text, spoken: a WAV file."""
    body = {"model": model, "input": text, "voice": voice, "response_format": "wav", **more}
    spoken: Artifact = await _ask("/v1/audio/speech", body)
    return spoken


async def load(artifact: Artifact) -> bytes:
    """The bytes of a picture or a sound. Raises Permanent when they are gone."""
    return await artifacts.load(current().objects, artifact)


async def keep(data: bytes) -> Artifact:
    """A picture or a sound that a step has made itself."""
    return await artifacts.keep(current().objects, data)


def current() -> Context:
    """The run at work. Raises Invalid outside of one."""
    try:
        return _RUN.get()
    except LookupError:
        raise Invalid("this is a step of a pipeline; start it with: headrace pipeline run FILE.py") from None


async def _ask(path: str, body: dict[str, Any], *, form: bool = False) -> Any:
    at = _AT.get()
    others = (Ask(path=path, body={**body, **change}, why=f"with {change}", form=form) for change in at.or_else)
    return await current().ask(at.place, [Ask(path=path, body=body, form=form), *others], at.patience, at.scope)


@contextlib.contextmanager
def asking(at: At) -> Iterator[None]:
    """What is asked of models in here is asked from there."""
    before = _AT.set(at)
    try:
        yield
    finally:
        _AT.reset(before)


def begun(work: Coroutine[Any, Any, Any]) -> "asyncio.Future[Any]":
    """Work that has begun, side by side with what follows."""
    return asyncio.ensure_future(work)


async def together(tasks: "Sequence[asyncio.Future[Any]]") -> list[Any]:
    """All results in order; the first failure ends the others and is raised."""
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _end(tasks)


async def first_good(tasks: "Sequence[asyncio.Future[Any]]", good: Callable[[Any], bool]) -> Any:
    """The first result that is good enough; what still runs is cancelled. The last one where none is."""
    found = None
    try:
        for next_one in asyncio.as_completed(tasks):
            found = await next_one
            if good(found):
                return found
        return found
    finally:
        await _end(tasks)


async def _end(tasks: "Sequence[asyncio.Future[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def prompt_of(text: str, images: "Sequence[dict[str, Any]]") -> str | list[dict[str, Any]]:
    """The content of a user's turn: text, and the pictures that it is about."""
    if not images:
        return text
    return [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": one}} for one in images)]


def chat_body(
    model: str, prompt: str | list[dict[str, Any]], system: str, schema: dict[str, Any] | None, more: dict[str, Any]
) -> dict[str, Any]:
    """The request of one turn."""
    turns: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    body = {"model": model, "messages": [*turns, {"role": "user", "content": prompt}], **more}
    if schema is not None:
        body["response_format"] = response_format(schema)
    return body


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The field of a chat request that asks for a value of this JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def read_chat(answer: Any, schema: dict[str, Any] | None) -> Any:
    """The text of a chat's answer, or the value it spells. Raises Invalid."""
    return read_text(answer["choices"][0]["message"]["content"] or "", schema)


def read_text(text: str, schema: dict[str, Any] | None) -> Any:
    """The text, or the value it spells. Raises Invalid."""
    if schema is None:
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise Invalid(f"the model's answer is not JSON: {text[:60]!r}; raise max_tokens") from None


def read_picture(answer: Any) -> Artifact:
    """The first picture of an answer."""
    found: Artifact = answer["data"][0]
    return found


def read_transcript(answer: Any) -> dict[str, Any]:
    """What was said, in which language, how long it was, and its pieces with their times in seconds."""
    pieces = [{name: one[name] for name in ("start", "end", "text")} for one in answer.get("segments", ())]
    return {"text": answer["text"], "language": answer.get("language", ""), "duration": answer.get("duration", 0),
            "segments": pieces}  # fmt: skip


def read_vectors(answer: Any) -> list[list[float]]:
    """The vectors of an answer."""
    return [item["embedding"] for item in answer["data"]]


def read_ranks(answer: Any, documents: list[str]) -> list[dict[str, Any]]:
    """Places of documents, best first."""
    return [
        {"index": r["index"], "score": r["relevance_score"], "text": documents[r["index"]]} for r in answer["results"]
    ]
