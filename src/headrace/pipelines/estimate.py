"""What a run would cost, before it is made: an interval from the gateway's quotes. Nothing is asked of a model."""

import base64
import struct
from typing import Any, Final

import msgspec

from headrace.errors import HeadraceError, Invalid
from headrace.pipelines import artifacts, author, graph, templates
from headrace.pipelines.asks import PATHS, asks_of
from headrace.pipelines.context import Ask, World
from headrace.pipelines.ports import Objects, Quote
from headrace.specs.pipeline import EACH_MAX, Pipeline, Step

ANSWER: Final = "word " * 64
PICTURE: Final = base64.b64decode(  # 1 x 1, so it costs as a picture and weighs nothing
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SOUND: Final = (
    b"RIFF" + struct.pack("<I", 36 + 16_000) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    + b"data" + struct.pack("<I", 16_000) + bytes(16_000)
)  # fmt: skip


class Bounds(msgspec.Struct, kw_only=True):
    """One stage's interval, nano-dollars, and how often it would ask."""

    stage: str
    calls_least: int
    calls_most: int
    expected_nanousd: int
    worst_nanousd: int
    basis: str


async def estimate(found: Pipeline, world: World, key: str, inputs: dict[str, Any], objects: Objects) -> dict[str, Any]:
    """Least, expected and most by stage. Answers that are not known yet are taken as 64 words. Raises Invalid.

    `objects` has the files among the inputs.
    """
    needed, values, stages = graph.needs(found), dict(inputs), list[Bounds]()
    made = _Estimate(world, key, found.limits.cost_nanousd, objects, await artifacts.keep(objects, PICTURE),
                     await artifacts.keep(objects, SOUND))  # fmt: skip
    waiting = list(found.steps)
    while waiting:
        name = next(step for step in waiting if not needed[step] & set(waiting))
        waiting.remove(name)
        bounds, values[name] = await made.stage(name, found.steps[name], values)
        stages += bounds
    worst = sum(stage.worst_nanousd for stage in stages)
    return {
        "object": "headrace.estimate",
        "pipeline": found.name,
        "least_nanousd": sum(stage.expected_nanousd * stage.calls_least for stage in stages),
        "expected_nanousd": sum(stage.expected_nanousd * stage.calls_most for stage in stages),
        "worst_nanousd": min(worst, found.limits.cost_nanousd),
        "worst_uncapped_nanousd": worst,
        "cap_nanousd": found.limits.cost_nanousd,
        "stages": [msgspec.structs.asdict(stage) for stage in stages],
    }


class _Estimate:
    """One estimate at work; `picture` and `sound` stand for those that are not made yet."""

    def __init__(self, world: World, key: str, cap_nanousd: int, objects: Objects, picture: Any, sound: Any) -> None:
        self._world, self._key, self._cap, self._objects = world, key, cap_nanousd, objects
        self._picture, self._sound = picture, sound

    async def stage(self, name: str, step: Step, values: dict[str, Any]) -> tuple[list[Bounds], Any]:
        """What a step may come to, and what stands in for its result."""
        items, count = [None] * (step.n or 1), step.n or 1
        own = {**values, "item": "", "index": 0, "round": 0, "last": None}
        try:
            if step.each is not None:
                items = list(templates.render(step.each, values, name))[:EACH_MAX]
                count = len(items)
                own["item"] = items[0] if items else ""
            count = step.loop.at_most if step.loop else count
            if step.kind == "value":
                return [], templates.render(step.value, own, name)
            ask, basis = asks_of(step, own, name)[0], "quote"
        except HeadraceError:
            if step.kind == "value":
                return [], ANSWER
            ask, basis = asks_of(self._plain(step), own, name)[0], "quote of 64 words: its inputs are not known yet"
        quote = await self._quote(ask)
        least = 0 if step.when else 1 if step.loop or step.enough else count
        most = count * (step.max_steps if step.kind == "agent" else 1)
        worst = quote.worst_nanousd * most * (step.retries + 1)
        if step.kind == "agent":  # what it is told grows from turn to turn: only its own bound is certain
            worst = (step.cost_nanousd or self._cap) * count
        made = [Bounds(stage=name, calls_least=least, calls_most=most, expected_nanousd=quote.expected_nanousd,
                       worst_nanousd=worst, basis=basis)]  # fmt: skip
        if step.best is not None:
            made.append(await self._best(name, step, count))
        return made, self._stand_in(step, ask.body, len(items))

    async def _best(self, name: str, step: Step, count: int) -> Bounds:
        assert step.best is not None
        if step.best.rerank is not None:
            body = {"model": step.best.rerank, "query": ANSWER, "documents": [ANSWER] * count, "top_n": count}
            ask, calls = Ask(path=PATHS["rerank"], body=body), 1
        else:
            body = author.chat_body(step.best.chat or "", step.best.prompt[:64] + ANSWER, "", None, {"max_tokens": 64})
            ask, calls = Ask(path=PATHS["chat"], body=body), count
        quote = await self._quote(ask)
        return Bounds(stage=f"{name}@best", calls_least=calls, calls_most=calls,
                      expected_nanousd=quote.expected_nanousd, basis="quote of 64 words a result",
                      worst_nanousd=quote.worst_nanousd * calls * (step.retries + 1))  # fmt: skip

    async def _quote(self, ask: Ask) -> Quote:
        body = await artifacts.filled(self._objects, ask.body, form=ask.form)
        return await self._world.models.quote(self._key, ask.path, body)

    def _stand_in(self, step: Step, body: dict[str, Any], count: int) -> Any:
        match step.kind:
            case "embed":
                one: Any = [[0.0] * 3 for _ in body["input"]]
            case "rerank":
                texts = body["documents"][: body["top_n"]]
                one = [{"index": i, "score": 0.0, "text": text} for i, text in enumerate(texts)]
            case "image" | "edit" | "upscale":
                one = self._picture
            case "speak":
                one = self._sound
            case "transcribe":
                one = {"text": ANSWER, "language": "en", "duration": 0.0, "segments": []}
            case _:
                one = ANSWER if step.schema is None else dict.fromkeys(step.schema.get("properties", {}), 0)
        several = (step.each is not None or step.n is not None) and not step.enough and step.best is None
        return [one] * count if several else one

    def _plain(self, step: Step) -> Step:
        """The step with texts and files in the place of templates that need results."""
        if "{{" in step.model:
            raise Invalid(f"the model {step.model!r} is not known before the run; an estimate needs a name")
        known = {"prompt": ANSWER, "query": ANSWER, "text": ANSWER, "texts": [ANSWER], "documents": [ANSWER],
                 "images": self._picture if step.images is not None else None, "audio": self._sound}  # fmt: skip
        return msgspec.structs.replace(step, system="", seed=None, size=None, language=None, **known)
