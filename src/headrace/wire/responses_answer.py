"""The response object of the Responses API: what was asked for, what was made, what it cost.

Made once for whole answers and once for each event of a stream that shows one, by the same functions.
"""

import hashlib
from typing import Any, Final, Literal

import msgspec

from headrace.wire.translate import Block
from headrace.wire.usage import Counts

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed"]
_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What names a response: its request, when it began, and the parameters that it repeats."""

    request_id: str
    created_s: int
    echo: dict[str, Any]

    @property
    def id(self) -> str:
        """Of the response: the request's, under another prefix."""
        return "resp_" + self.request_id.removeprefix("req_")

    def item_id(self, block: Block) -> str:
        """The same for the same place in the same answer."""
        prefix = {"text": "msg", "tool": "fc", "reasoning": "rs"}[block.kind]
        return f"{prefix}_{hashlib.sha256(f'{self.request_id}/{block.place}'.encode()).hexdigest()[:32]}"


def whole(facts: Facts, finish: str, blocks: list[Block], counts: Counts | None) -> dict[str, Any]:
    """The response at its end. `finish` is the engine's reason, which may say that the answer is incomplete."""
    reason = _REASONS.get(finish)
    status: Status = "incomplete" if reason else "completed"
    last = len(blocks) - 1
    output = [item(facts, block, status if place == last else "completed") for place, block in enumerate(blocks)]
    made = response(facts, status, output)
    if reason:
        made["incomplete_details"] = {"reason": reason}
    if counts is not None:
        made["usage"] = usage(counts)
    return made


def response(facts: Facts, status: Status, output: list[dict[str, Any]]) -> dict[str, Any]:
    """The response as it stands."""
    return {
        "id": facts.id,
        "object": "response",
        "created_at": facts.created_s,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        **facts.echo,
        "output": output,
    }


def failed(facts: Facts, code: str, message: str, blocks: list[Block]) -> dict[str, Any]:
    """The response of which there will be no more. `code` is the catalogue's, which the message repeats."""
    made = response(facts, "failed", [item(facts, block, "incomplete") for block in blocks])
    known = code if code == "rate_limit_exceeded" else "server_error"
    made["error"] = {"code": known, "message": f"{code}: {message}"}
    return made


def item(facts: Facts, block: Block, status: Status) -> dict[str, Any]:
    """One item of the output."""
    named = {"id": facts.item_id(block), "status": status}
    match block.kind:
        case "tool":
            called = {"call_id": block.call_id, "name": block.name, "arguments": block.text}
            return {**named, "type": "function_call", **called}
        case "reasoning":
            return {**named, "type": "reasoning", "summary": [], "content": [part(block)] if block.text else []}
        case _:
            content = [part(block)] if status != "in_progress" else []
            return {**named, "type": "message", "role": "assistant", "content": content}


def part(block: Block) -> dict[str, Any]:
    """The content of an item of text or reasoning."""
    if block.kind == "reasoning":
        return {"type": "reasoning_text", "text": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": logprobs(block.logprobs)}


def logprobs(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log probabilities of tokens: the published fields, and none of an engine's own."""
    made = []
    for token in found:
        others = [_token(other) for other in token.get("top_logprobs") or ()]
        made.append({**_token(token), "top_logprobs": others})
    return made


def usage(counts: Counts) -> dict[str, Any]:
    """`usage`, with the charge under `headrace` where it is known."""
    made: dict[str, Any] = {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.input_tokens + counts.output_tokens,
    }
    if counts.bill is not None:
        made["headrace"] = counts.bill
    return made


def _token(found: dict[str, Any]) -> dict[str, Any]:
    text = str(found.get("token", ""))
    return {
        "token": text,
        "logprob": found.get("logprob", 0.0),
        "bytes": found.get("bytes") or list(text.encode(errors="replace")),
    }
