"""A pipeline in YAML at work: each step begins when what it needs is there; side by side as far as the run allows."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from headrace.errors import Invalid
from headrace.pipelines import agent, ahead, author, declared, graph, templates
from headrace.pipelines.context import Ask, Context, Patience, StepFailed
from headrace.specs.pipeline import EACH_MAX, Instead, Pipeline, Step
from headrace.state.run import Chosen

PATHS: Final = {
    "chat": "/v1/chat/completions",
    "agent": "/v1/chat/completions",
    "embed": "/v1/embeddings",
    "rerank": "/v1/rerank",
}


async def execute(found: Pipeline, context: Context, given: dict[str, Any]) -> Any:
    """The output. Raises StepFailed or Invalid."""
    needed = graph.needs(found)
    values = dict(given)
    tasks: dict[str, asyncio.Future[Any]] = {}

    async def one(name: str) -> None:
        for other in sorted(needed[name]):
            await asyncio.shield(tasks[other])
        values[name] = await _step(name, found.steps[name], context, values)

    for name in found.steps:
        tasks[name] = asyncio.get_running_loop().create_future()
    works = [asyncio.ensure_future(_tell(one(name), tasks[name])) for name in found.steps]
    try:
        async with ahead.announced(found, needed, context):
            await author.together(works)
    finally:
        for waiting in tasks.values():
            waiting.cancel()
    return templates.render(found.output, values, "output")


async def _tell(work: Any, done: "asyncio.Future[Any]") -> None:
    await work
    if not done.done():
        done.set_result(None)


async def _step(name: str, step: Step, context: Context, values: dict[str, Any]) -> Any:
    if step.when and not templates.truth(step.when, values, name):
        return None
    if step.each is not None:
        return await _each(name, step, context, values)
    if step.loop is not None:
        return await _loop(name, step, context, values)
    return await _once(name, name, step, context, values)


async def _each(name: str, step: Step, context: Context, values: dict[str, Any]) -> Any:
    items = templates.render(step.each, values, name)
    if not isinstance(items, list | tuple):
        raise _wrong(name, f"`each` is {type(items).__name__}, and a list is needed", "give a list")
    if len(items) > EACH_MAX:
        raise _wrong(name, f"`each` has {len(items)} items, and {EACH_MAX} is the most", "give fewer")
    items = await _fewer(name, step, context, list(items), values)
    tasks = [
        asyncio.ensure_future(_once(name, f"{name}[{i}]", step, context, {**values, "item": item, "index": i}))
        for i, item in enumerate(items)
    ]
    if not step.enough:
        return await author.together(tasks)
    return await author.first_good(tasks, _enough(name, step, values))


def _enough(name: str, step: Step, values: dict[str, Any]) -> Callable[[Any], bool]:
    return lambda found: templates.truth(step.enough, {**values, "result": found}, name)


async def _fewer(name: str, step: Step, context: Context, items: list[Any], values: dict[str, Any]) -> list[Any]:
    """Fewer variants where all of them cannot be paid for and the step says how many would do."""
    instead = next((one for one in step.or_else if one.variants), None)
    if instead is None or instead.variants is None or instead.variants >= len(items):
        return items

    async def decide(_place: str) -> Any:
        asks = asks_of(step, {**values, "item": items[0], "index": 0}, name)
        quote = await context.quote(name, asks[0])
        need, left = quote.worst_nanousd * len(items), context.run.left_nanousd
        if need <= left:
            return len(items)
        why = f"{instead.variants} variants and not {len(items)}, since {need} nano-dollars at most do not fit {left}"
        await context.tell(Chosen(at_us=context.now_us, step=name, why=why))
        return instead.variants

    count = await context.step(f"{name}@variants", len(items), decide)
    return items[:count]


async def _loop(name: str, step: Step, context: Context, values: dict[str, Any]) -> Any:
    assert step.loop is not None
    last = None
    for number in range(step.loop.at_most):
        own = {**values, "round": number, "last": last}
        last = await _once(name, f"{name}@{number + 1}", step, context, own)
        if templates.truth(step.loop.until, {**own, "last": last, "result": last}, name):
            break
    return last


async def _once(name: str, place: str, step: Step, context: Context, values: dict[str, Any]) -> Any:
    if step.kind == "value":
        made = templates.render(step.value, values, name)

        async def kept(_place: str) -> Any:
            return made

        return await context.step(place, made, kept)
    if step.kind == "agent":
        return await _agent(name, place, step, context, values)
    asks = asks_of(step, values, name)

    async def work(origin: str) -> Any:
        try:
            answer = await context.ask(origin, asks, Patience(retries=step.retries, timeout_us=step.timeout_us))
        except StepFailed:
            if any(one.stop for one in step.or_else) and context.run.left_nanousd < context.run.cap_nanousd // 2:
                await context.tell(Chosen(at_us=context.now_us, step=place, why="stopped early: `or_else: stop`"))
                return values.get("last")
            raise
        return _read(step, answer, asks[0].body)

    return await context.step(place, asks[0].body, work)


async def _agent(name: str, place: str, step: Step, context: Context, values: dict[str, Any]) -> Any:
    body = _body(step, values, name)
    changes = [change for instead in step.or_else if (change := _change(instead))]
    *system, prompt = body.pop("messages")
    model, more = body.pop("model"), {key: value for key, value in body.items() if key != "response_format"}
    made = declared.agent_of(step, model, system[0]["content"] if system else "", more, changes)
    return await agent.run(context, place, made, prompt["content"])


def _read(step: Step, answer: Any, body: dict[str, Any]) -> Any:
    if step.kind == "chat":
        return author.read_chat(answer, step.schema)
    return author.read_vectors(answer) if step.kind == "embed" else author.read_ranks(answer, body["documents"])


def asks_of(step: Step, values: dict[str, Any], name: str) -> list[Ask]:
    """The call, and what it may be instead."""
    body = _body(step, values, name)
    asks = [Ask(path=PATHS[step.kind], body=body)]
    for instead in step.or_else:
        change = _change(instead)
        if change:
            asks.append(Ask(path=PATHS[step.kind], body={**body, **change}, why=f"with {change}"))
    return asks


def _change(instead: Instead) -> dict[str, Any]:
    found = {"model": instead.model, "max_tokens": instead.max_tokens}
    return {name: value for name, value in found.items() if value is not None}


def _body(step: Step, values: dict[str, Any], name: str) -> dict[str, Any]:
    def filled(value: Any) -> Any:
        return templates.render(value, values, name)

    model = filled(step.model)
    if step.kind == "embed":
        return {"model": model, "input": _texts(filled(step.texts), name), "encoding_format": "float"}
    if step.kind == "rerank":
        documents = _texts(filled(step.documents), name)
        return {"model": model, "query": str(filled(step.query)), "documents": documents,
                "top_n": min(step.top or len(documents), len(documents))}  # fmt: skip
    more: dict[str, Any] = {"max_tokens": step.max_tokens}
    if step.temperature is not None:
        more["temperature"] = step.temperature
    if step.seed is not None:
        more["seed"] = int(filled(step.seed))
    return author.chat_body(model, str(filled(step.prompt)), str(filled(step.system)), step.schema, more)


def _texts(found: Any, name: str) -> list[str]:
    if not isinstance(found, list | tuple) or not found or not all(isinstance(text, str) and text for text in found):
        raise _wrong(name, "it needs a list of texts, none of them empty", 'give one, like texts: "{{ docs }}"')
    return list(found)


def _wrong(step: str, reason: str, fix: str) -> Invalid:
    return Invalid(f"step {step}: {reason}; {fix}", code="invalid_pipeline", status=422)
