"""A pipeline in YAML at work: each step begins when what it needs is there; side by side as far as the run allows."""

import asyncio
from collections.abc import Callable
from typing import Any

from headrace.errors import Invalid
from headrace.pipelines import agent, ahead, asks, author, best, declared, graph, templates
from headrace.pipelines.context import Context, Patience, StepFailed
from headrace.specs.pipeline import EACH_MAX, Pipeline, Step
from headrace.state.run import Chosen


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
        await context.saved()  # the end follows from it
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
    if step.each is not None or step.n is not None:
        return await _each(name, step, context, values)
    if step.loop is not None:
        return await _loop(name, step, context, values)
    return await _once(name, name, step, context, values)


async def _each(name: str, step: Step, context: Context, values: dict[str, Any]) -> Any:
    tasks = [
        author.begun(_once(name, f"{name}[{i}]", step, context, {**values, **own}))
        for i, own in enumerate(await _fewer(name, step, context, _variants(name, step, values), values))
    ]
    if step.enough:
        return await author.first_good(tasks, _enough(name, step, values))
    results = await author.together(tasks)
    return await best.best(name, step, context, values, results) if step.best is not None and results else results


def _variants(name: str, step: Step, values: dict[str, Any]) -> list[dict[str, Any]]:
    """What each of several variants has of its own: its item, or its number."""
    if step.n is not None:
        return [{"variant": i, "index": i, "item": i} for i in range(step.n)]
    items = templates.render(step.each, values, name)
    if not isinstance(items, list | tuple):
        raise _wrong(name, f"`each` is {type(items).__name__}, and a list is needed", "give a list")
    if len(items) > EACH_MAX:
        raise _wrong(name, f"`each` has {len(items)} items, and {EACH_MAX} is the most", "give fewer")
    return [{"item": item, "index": i} for i, item in enumerate(items)]


def _enough(name: str, step: Step, values: dict[str, Any]) -> Callable[[Any], bool]:
    return lambda found: templates.truth(step.enough, {**values, "result": found}, name)


async def _fewer(
    name: str, step: Step, context: Context, items: list[dict[str, Any]], values: dict[str, Any]
) -> list[dict[str, Any]]:
    """Fewer variants where all of them cannot be paid for and the step says how many would do."""
    instead = next((one for one in step.or_else if one.variants), None)
    if instead is None or instead.variants is None or instead.variants >= len(items):
        return items

    async def decide(_place: str) -> Any:
        calls = asks.asks_of(step, {**values, **items[0]}, name)
        quote = await context.quote(name, calls[0])
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

        return await context.step(place, made, kept, soon=True)
    if step.kind == "agent":
        return await _agent(name, place, step, context, values)
    calls = asks.asks_of(step, values, name)

    async def work(origin: str) -> Any:
        try:
            answer = await context.ask(
                origin, calls, Patience(retries=step.retries, timeout_us=step.timeout_us), last=True
            )
        except StepFailed:
            if any(one.stop for one in step.or_else) and context.run.left_nanousd < context.run.cap_nanousd // 2:
                await context.tell(Chosen(at_us=context.now_us, step=place, why="stopped early: `or_else: stop`"))
                return values.get("last")
            raise
        return asks.read(step, answer, calls[0].body)

    async def known(origin: str) -> Any:
        subject = [calls[0].path, calls[0].body]
        return await context.cached(place, subject, step.cache_us, lambda: work(origin))

    return await context.step(place, calls[0].body, known if step.cache_us else work, soon=True)


async def _agent(name: str, place: str, step: Step, context: Context, values: dict[str, Any]) -> Any:
    changes = [change for instead in step.or_else if (change := asks.change(instead))]
    made, prompt = await declared.agent_of(context, place, step, asks.body_of(step, values, name), changes)
    return await agent.run(context, place, made, prompt)


def _wrong(step: str, reason: str, fix: str) -> Invalid:
    return Invalid(f"step {step}: {reason}; {fix}", code="invalid_pipeline", status=422)
