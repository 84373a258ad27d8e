"""A question about documents in Python: `headrace pipeline run ask_documents.py question=... documents=@docs.json`."""

from headrace import chat, embed, pipeline, rerank, step


@step()
async def rank(question: str, documents: list[str]) -> list[dict]:
    """The best two."""
    return await rerank("minilm-rerank", question, documents, top=2)


@step()
async def vector(text: str) -> list[float]:
    """What a document means."""
    (found,) = await embed("minilm", [text])
    return found


@step(retries=3, timeout="60s", or_else=[{"max_tokens": 16}])
async def answer(question: str, passages: list[dict]) -> str:
    """One sentence, from the passages."""
    text = "\n".join(f"[{p['index'] + 1}] {p['text']}" for p in passages)
    return await chat("smollm2", f"{text}\n\nQuestion: {question}", max_tokens=48, temperature=0)


@pipeline(cost="0.05", time="2m", width=4)
async def ask_documents(question: str, documents: list[str]) -> dict:
    """Rank, compare, answer, cite."""
    vectors = await vector.map([question, *documents])
    passages = await rank(question, documents)
    return {"answer": await answer(question, passages), "citations": passages, "compared": len(vectors)}
