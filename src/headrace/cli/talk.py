"""One streamed answer on the screen, and the line that closes it; shared by `run` and `chat`."""

import time
from typing import Any

import click

from headrace.errors import HeadraceError
from headrace.sdk.client import Client, Stream


def ask(client: Client, model: str, messages: list[dict[str, Any]], *, quiet: bool, **more: Any) -> dict[str, Any]:
    """Stream an answer to standard output; what it took, with the whole text."""
    body = {"model": model, "messages": messages, "stream": True, "stream_options": {"include_usage": True}, **more}
    start, first, reason = time.monotonic(), 0.0, ""
    parts: list[str] = []
    usage: dict[str, Any] = {}
    stream = client.stream("/v1/chat/completions", body)
    for chunk in stream:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            reason = choice.get("finish_reason") or reason
            text = choice["delta"].get("content")
            if text:
                first = first or time.monotonic() - start
                parts.append(text)
                if not quiet:
                    click.echo(text, nl=False)
    if not quiet:
        click.echo()
    seconds = time.monotonic() - start
    return {
        "model": model,
        "text": "".join(parts),
        "finish_reason": reason,
        "input_tokens": usage.get("prompt_tokens", 0),
        "output_tokens": usage.get("completion_tokens", 0),
        "seconds": round(seconds, 3),
        "first_token_seconds": round(first, 3),
        "request": stream.request_id,
        "replica": replica_of(client, stream),
        "cost": usage.get("headrace", {}).get("cost", ""),
    }


def replica_of(client: Client, stream: Stream) -> str:
    """Which replica answered; a stream that was held began before one was chosen, so its record is asked."""
    if stream.replica:
        return stream.replica
    try:
        return str(client.get(f"/headrace/v1/explain/{stream.request_id}")["request"]["replica"])
    except HeadraceError:
        return "unknown"  # the answer is there; what is missing is a detail of the last line


def closing(took: dict[str, Any]) -> str:
    """The one line after an answer."""
    cost = f"${took['cost']} · " if took["cost"] else ""
    return click.style(
        f"─ {took['output_tokens']} tokens · {took['seconds']:.2f} s (first {took['first_token_seconds']:.2f} s) · "
        f"{cost}"
        f"replica {took['replica']}   explain: headrace explain {took['request']}",
        dim=True,
    )
