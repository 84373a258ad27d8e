"""The best of several results: as a reranker orders them for a query, or as a judge scores each. One step of a run."""

from typing import Any, Final

import msgspec

from headrace.errors import Invalid
from headrace.pipelines import artifacts, asks, author, templates
from headrace.pipelines.context import Ask, Context, Patience
from headrace.specs.pipeline import Best, Step
from headrace.state.run import Chosen

SCORE: Final = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 100}},
    "required": ["score"],
    "additionalProperties": False,
}
_JUDGE_TOKENS: Final = 64


async def best(name: str, step: Step, context: Context, values: dict[str, Any], results: list[Any]) -> Any:
    """One of the results; the first of those that are equally good. Raises StepFailed or Invalid."""
    assert step.best is not None
    if len(results) == 1:
        return results[0]
    patience = Patience(retries=step.retries, timeout_us=step.timeout_us)
    judge = _ranked if step.best.rerank is not None else _judged
    scores = await judge(f"{name}@best", step.best, context, values, results, patience)
    place = max(range(len(scores)), key=scores.__getitem__)

    async def chosen(_place: str) -> int:
        why = f"number {place} of {len(scores)} is the best, scores: {', '.join(f'{score:.3g}' for score in scores)}"
        await context.tell(Chosen(at_us=context.now_us, step=name, why=why))
        return place

    return results[await context.step(f"{name}@best.choice", scores, chosen)]


async def _ranked(
    name: str, by: Best, context: Context, values: dict[str, Any], results: list[Any], patience: Patience
) -> list[float]:
    texts = [one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in results]
    if not all(texts):
        raise Invalid(f"step {name}: a result is empty, and a reranker needs texts; raise max_tokens", status=422)
    body = {"model": by.rerank, "query": str(templates.render(by.query, values, name)), "documents": texts,
            "top_n": len(texts)}  # fmt: skip

    async def work(origin: str) -> list[float]:
        answer = await context.ask(origin, [Ask(path=asks.PATHS["rerank"], body=body)], patience)
        scores = [0.0] * len(texts)
        for one in answer["results"]:
            scores[one["index"]] = one["relevance_score"]
        return scores

    found: list[float] = await context.step(name, body, work)
    return found


async def _judged(
    name: str, by: Best, context: Context, values: dict[str, Any], results: list[Any], patience: Patience
) -> list[float]:
    async def one(place: int, result: Any) -> float:
        prompt = str(templates.render(by.prompt, {**values, "result": result, "item": result}, name))
        seen = [result] if artifacts.is_mention(result) else []  # a picture is shown, not told
        body = author.chat_body(
            by.chat or "", author.prompt_of(prompt, seen), "", SCORE, {"max_tokens": _JUDGE_TOKENS, "temperature": 0}
        )

        async def work(origin: str) -> float:
            answer = await context.ask(origin, [Ask(path=asks.PATHS["chat"], body=body)], patience)
            return float(author.read_chat(answer, SCORE)["score"])

        found: float = await context.step(f"{name}[{place}]", body, work)
        return found

    return await author.together([author.begun(one(place, result)) for place, result in enumerate(results)])
