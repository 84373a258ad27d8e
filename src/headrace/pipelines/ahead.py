"""Stages that are still to come are announced when a run begins, so that their models are awake when they are reached.

Only what the file says by itself: a step's model that is no template, as many calls as the run makes at once where it
fans out. A gateway that does not hear of it costs a wake and nothing else.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from headrace.errors import Unreachable
from headrace.pipelines.context import Context
from headrace.specs.pipeline import Pipeline

WITHIN_S_MAX: Final = 3_600
REQUESTS_MAX: Final = 1_000


def later(found: Pipeline, needed: Mapping[str, set[str]]) -> Counter[str]:
    """Calls by model of the steps that wait for others."""
    calls: Counter[str] = Counter()
    for name, step in found.steps.items():
        if needed[name] and step.model and "{{" not in step.model:
            calls[step.model] += 1 if step.each is None else found.limits.width
    return calls


@asynccontextmanager
async def announced(found: Pipeline, needed: Mapping[str, set[str]], context: Context) -> AsyncIterator[None]:
    """While the run is at work, its later stages are expected; if it fails, no more.

    Of a run that went well each call was taken off as it came; a step that was left out is forgotten at its deadline.
    """
    calls = later(found, needed)
    telling = asyncio.ensure_future(_tell(calls, context))
    try:
        yield
    except BaseException:
        telling.cancel()
        await _tell(Counter(dict.fromkeys(calls, 0)), context)
        raise
    await telling


async def _tell(calls: Counter[str], context: Context) -> None:
    started = context.run.started
    within_s = max(1, min(WITHIN_S_MAX, (started.deadline_us - context.now_us) // 1_000_000))
    for model, requests in calls.items():
        try:
            await context.world.models.expect(
                started.key, model, min(requests, REQUESTS_MAX), within_s=within_s, label=started.run
            )
        except Unreachable:
            return
