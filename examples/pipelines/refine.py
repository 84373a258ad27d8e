"""Written, judged and written again until good enough: `headrace pipeline run refine.py brief="a red bicycle"`."""

from headrace import chat, pipeline, step

SCORE = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 10}},
    "required": ["score"],
    "additionalProperties": False,
}
GOOD, ROUNDS = 7, 4


@step(or_else=[{"max_tokens": 16}])
async def write(brief: str, last: str, seed: int) -> str:
    """A sentence, or a better one."""
    wish = f"Write it again, better: {last}" if last else f"Write one sentence about {brief}."
    return await chat("smollm2", wish, max_tokens=40, temperature=0.8, seed=seed)


@step(cache="1d")
async def judge(text: str) -> int:
    """How good it is, 1 to 10; the same sentence is judged once a day."""
    wish = f"Rate this sentence from 1 to 10: {text}"
    return (await chat("smollm2", wish, schema=SCORE, max_tokens=160))["score"]  # a schema allows blanks, too


@pipeline(cost="0.02", time="3m")
async def refine(brief: str) -> dict:
    """The first sentence that is good enough, or the best of all."""
    tried: list[tuple[int, str]] = []
    for seed in range(ROUNDS):
        text = await write(brief, tried[-1][1] if tried else "", seed)
        tried.append((await judge(text), text))
        if tried[-1][0] >= GOOD:
            break
    score, text = max(tried, key=lambda one: one[0])
    return {"text": text, "score": score, "rounds": len(tried)}
