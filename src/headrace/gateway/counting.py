"""How many tokens a prompt is, asked of a replica that is ready: for quotes, where a count is better than a guess.

Never in the way of a request that runs. Each engine is asked in its own way; one that does not answer as it should, or
in time, leaves the question to the estimate.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from headrace.gateway.upstream import Pool

PATIENCE_S: Final = 0.25
ANSWER_BYTES_MAX: Final = 16 << 20
_PROMPT: Final = ("messages", "tools", "tool_choice", "chat_template_kwargs")


class _Asked:
    """One answer of an engine, gathered."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._parts: list[bytes] = []
        self._size = 0
        self._status = 0

    def upstream_head(self, status: int, events: bool) -> None:
        """Anything but 200 is no answer; nor are events."""
        self._status = 0 if events else status

    def upstream_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= ANSWER_BYTES_MAX:
            self._parts.append(data)

    def upstream_end(self) -> None:
        good = self._status == 200 and self._size <= ANSWER_BYTES_MAX
        self._done(b"".join(self._parts) if good else b"")

    def upstream_lost(self, reason: str, heard: bool) -> None:
        del reason, heard
        self._done(b"")

    def _done(self, answer: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


async def tokens(pool: Pool, dialect: str, body: bytes) -> int | None:
    """Tokens of the prompt in an upstream body; None when the replica cannot tell in time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await _tokens(pool, dialect, msgspec.json.decode(body, type=dict[str, Any]))
    except (OSError, TimeoutError, msgspec.MsgspecError, KeyError, TypeError):
        return None


async def _tokens(pool: Pool, dialect: str, asked: dict[str, Any]) -> int | None:
    if dialect == "llama_cpp":
        if "messages" in asked:
            made = await _ask(pool, "/apply-template", {name: asked[name] for name in _PROMPT if name in asked})
            return await _llama_tokens(pool, [made["prompt"]])
        prompts = asked["prompt"]
        return await _llama_tokens(pool, [prompts] if isinstance(prompts, str) else prompts)
    if dialect in ("headrace", "vllm"):
        names = ("model", "messages", "prompt", "input", "query", "documents")
        count = (await _ask(pool, "/tokenize", {name: asked[name] for name in names if name in asked}))["count"]
        return count if isinstance(count, int) and count > 0 else None
    return None


async def _llama_tokens(pool: Pool, prompts: Iterable[Any]) -> int:
    count = 0
    for prompt in prompts:
        if isinstance(prompt, str):
            asked = {"content": prompt, "add_special": True, "parse_special": True}
            count += len((await _ask(pool, "/tokenize", asked))["tokens"])
        else:
            count += len(prompt)
    return count


async def _ask(pool: Pool, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON object that answers. Raises OSError, TypeError, msgspec.MsgspecError."""
    upstream = pool.take() or await pool.connect()
    asked = _Asked()
    upstream.send(asked, pool.request(path, msgspec.json.encode(body)))
    try:
        return msgspec.json.decode(await asked.answer, type=dict[str, Any])
    except asyncio.CancelledError:
        upstream.give_up()
        raise
