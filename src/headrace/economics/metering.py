"""What a request used, in units: the one path from a usage record to what is priced, for every task.

A new task needs a unit here and nothing else. Streamed, buffered and cancelled answers are metered alike: by what the
record says was worked on and delivered, never by how it travelled.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from headrace.state.usage import Usage

Unit = Literal[
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "embeddings",
    "documents",
    "images",
    "megapixel_steps",
    "audio_ms",
    "video_ms",
    "agent_steps",
    "pipeline_runs",
    "requests",
    "busy_us",
]
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
Quantities = Mapping[Unit, int]

# What people price by: how many of a unit one "each" of a price list is, and how it is called there.
SCALES: Final[dict[Unit, tuple[int, str]]] = {
    "input_tokens": (1_000_000, "million input tokens"),
    "cached_tokens": (1_000_000, "million cached input tokens"),
    "output_tokens": (1_000_000, "million output tokens"),
    "reasoning_tokens": (1_000_000, "million reasoning tokens"),
    "embeddings": (1_000, "thousand embeddings"),
    "documents": (1_000, "thousand ranked documents"),
    "images": (1, "image"),
    "megapixel_steps": (1, "megapixel step"),
    "audio_ms": (60_000, "minute of audio"),
    "video_ms": (1_000, "second of video"),
    "agent_steps": (1, "agent step"),
    "pipeline_runs": (1, "pipeline run"),
    "requests": (1, "request"),
    "busy_us": (3_600_000_000, "hour of a slot at work"),
}
_ITEMS: Final[dict[str, Unit]] = {"embed": "embeddings", "rerank": "documents"}


def quantities(row: Usage) -> dict[Unit, int]:
    """What a request used, in every unit that is not 0.

    A refused request used nothing. One that failed before its first byte used nothing either: that was our fault. One
    that failed later, or was cancelled, used what was worked on and delivered.

    >>> row = Usage(request="r", epoch="e", tenant="t", key="k", model="m", task="chat", outcome="finished",
    ...             status=200, arrived_us=0, ended_us=9, input_tokens=10, cached_tokens=4, output_tokens=3, busy_us=7)
    >>> quantities(row)
    {'input_tokens': 6, 'cached_tokens': 4, 'output_tokens': 3, 'requests': 1, 'busy_us': 7}
    """
    if row.outcome == "refused" or (row.outcome == "failed" and not row.first_us):
        return {}
    found: dict[Unit, int] = {
        "input_tokens": row.input_tokens - row.cached_tokens,
        "cached_tokens": row.cached_tokens,
        "output_tokens": row.output_tokens,
        _ITEMS.get(row.task, "requests"): row.items,
        "requests": 1,
        "busy_us": row.busy_us,
    }
    return {unit: amount for unit, amount in found.items() if amount}
