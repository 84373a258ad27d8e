"""`headrace bench`: measure a model through the cloud."""

import statistics
import threading
import time
from typing import Any

import click

from headrace.cli.shown import client, json_option, show, table
from headrace.errors import HeadraceError
from headrace.sdk.client import Client


@click.command()
@click.argument("model")
@click.option(
    "--requests", "-n", default=32, show_default=True, type=click.IntRange(1, 1_000_000), help="How many requests."
)
@click.option(
    "--concurrency", "-c", default=8, show_default=True, type=click.IntRange(1, 512), help="How many at once."
)
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(2, 100_000), help="Tokens of each answer.")
@json_option
def command(model: str, requests: int, concurrency: int, tokens: int, as_json: bool) -> None:
    """Measure chat MODEL: tokens a second, time to first token, time per token. Streams, closed loop."""
    cloud = client()
    _one(cloud, model, 0, 2)  # awake before the clock starts
    results: list[tuple[float, float, int]] = []
    failures: list[str] = []
    numbers = iter(range(1, requests + 1))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results.append(_one(cloud, model, number, tokens))
            except HeadraceError as error:
                failures.append(error.message)

    start = time.monotonic()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(concurrency, requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = summary(results, failures, time.monotonic() - start)
    show(found, table(["FIGURE", "VALUE"], [[name, value] for name, value in found.items()]), as_json=as_json)
    if failures:
        raise click.exceptions.Exit(1)


def _one(cloud: Client, model: str, number: int, tokens: int) -> tuple[float, float, int]:
    """Seconds to the first token, seconds in all, tokens."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Tell story number {number} about a river and an engine."}],
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    start, first, count = time.monotonic(), 0.0, 0
    for chunk in cloud.stream("/v1/chat/completions", body):
        if not first and any(choice["delta"].get("content") for choice in chunk["choices"]):
            first = time.monotonic() - start
        count = (chunk.get("usage") or {}).get("completion_tokens", count)
    return first, time.monotonic() - start, count


def summary(results: list[tuple[float, float, int]], failures: list[str], seconds: float) -> dict[str, Any]:
    """Figures of one run; times in seconds.

    >>> summary([(0.1, 1.1, 11)], [], 1.1)["tpot_p50"]
    0.1
    """
    firsts = sorted(first for first, _, _ in results) or [0.0]
    per_token = sorted((total - first) / max(1, count - 1) for first, total, count in results) or [0.0]
    return {
        "requests": len(results),
        "errors": len(failures),
        "first_error": failures[0] if failures else "",
        "seconds": round(seconds, 3),
        "tokens_per_second": round(sum(count for _, _, count in results) / seconds, 1),
        "ttft_p50": round(statistics.median(firsts), 4),
        "ttft_p99": round(firsts[int(0.99 * (len(firsts) - 1))], 4),
        "tpot_p50": round(statistics.median(per_token), 4),
        "tpot_p99": round(per_token[int(0.99 * (len(per_token) - 1))], 4),
    }
