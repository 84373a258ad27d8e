"""What a run would cost, before it is made: an interval from the gateway's quotes. Nothing is asked of a model."""

from typing import Any

import msgspec

from headrace.errors import HeadraceError, Invalid
from headrace.pipelines import graph, templates
from headrace.pipelines.execute import asks_of
from headrace.pipelines.ports import Models
from headrace.specs.pipeline import EACH_MAX, Pipeline, Step

ANSWER: str = "word " * 64


class Bounds(msgspec.Struct, kw_only=True):
    """One stage's interval, nano-dollars, and how often it would ask."""

    stage: str
    calls_least: int
    calls_most: int
    expected_nanousd: int
    worst_nanousd: int
    basis: str


async def estimate(found: Pipeline, models: Models, key: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Least, expected and most by stage. Answers that are not known yet are taken as 64 words. Raises Invalid."""
    needed, values, stages = graph.needs(found), dict(inputs), []
    waiting = list(found.steps)
    while waiting:
        name = next(step for step in waiting if not needed[step] & set(waiting))
        waiting.remove(name)
        bounds, values[name] = await _stage(name, found.steps[name], models, key, values)
        if bounds is not None:
            stages.append(bounds)
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


async def _stage(name: str, step: Step, models: Models, key: str, values: dict[str, Any]) -> tuple[Bounds | None, Any]:
    items, count = [None], 1
    own = {**values, "item": "", "index": 0, "round": 0, "last": None}
    try:
        if step.each is not None:
            items = list(templates.render(step.each, values, name))[:EACH_MAX]
            count = len(items)
            own["item"] = items[0] if items else ""
        count = step.loop.at_most if step.loop else count
        if step.kind == "value":
            return None, templates.render(step.value, own, name)
        ask = asks_of(step, own, name)[0]
        basis = "quote"
    except HeadraceError:
        if step.kind == "value":
            return None, ANSWER
        ask, basis = asks_of(_plain(step), own, name)[0], "quote of 64 words: its inputs are not known yet"
    quote = await models.quote(key, ask.path, ask.body)
    least = 0 if step.when else 1 if step.loop or step.enough else count
    count *= step.max_steps if step.kind == "agent" else 1
    expected = quote.expected_nanousd
    made = Bounds(stage=name, calls_least=least, calls_most=count, expected_nanousd=expected,
                  worst_nanousd=quote.worst_nanousd * count * (step.retries + 1), basis=basis)  # fmt: skip
    return made, _stand_in(step, ask.body, len(items))


def _stand_in(step: Step, body: dict[str, Any], count: int) -> Any:
    if step.kind == "embed":
        one: Any = [[0.0] * 3 for _ in body["input"]]
    elif step.kind == "rerank":
        texts = body["documents"][: body["top_n"]]
        one = [{"index": i, "score": 0.0, "text": text} for i, text in enumerate(texts)]
    else:
        one = ANSWER if step.schema is None else dict.fromkeys(step.schema.get("properties", {}), 0)
    return [one] * count if step.each is not None and not step.enough else one


def _plain(step: Step) -> Step:
    """The step with texts in the place of templates that need results."""
    if "{{" in step.model:
        raise Invalid(f"the model {step.model!r} is not known before the run; an estimate needs a name")
    return msgspec.structs.replace(step, prompt=ANSWER, system="", query=ANSWER, texts=[ANSWER], documents=[ANSWER],
                                   seed=None)  # fmt: skip
