"""Units that work is measured and priced in, and how price lists name them. Pure facts, shared by specs and books."""

from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal
from typing import Final, Literal, get_args

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
    "characters",
    "agent_steps",
    "pipeline_runs",
    "requests",
    "busy_us",
]
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
PICOUSD_PER_USD: Final = 10**12

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
    "characters": (1_000_000, "million characters"),
    "agent_steps": (1, "agent step"),
    "pipeline_runs": (1, "pipeline run"),
    "requests": (1, "request"),
    "busy_us": (3_600_000_000, "hour of a slot at work"),
}


def each(unit: Unit) -> str:
    """What a price is for, with its article.

    >>> each("busy_us"), each("images"), each("input_tokens")
    ('an hour of a slot at work', 'an image', 'a million input tokens')
    """
    noun = SCALES[unit][1]
    return f"{'an' if noun[0] in 'aeio' or noun.startswith('hour') else 'a'} {noun}"


# What a request of a task has several of: the unit that `Usage.items` counts.
ITEMS: Final[dict[str, Unit]] = {
    "embed": "embeddings",
    "rerank": "documents",
    "image": "images",
    "upscale": "images",
    "transcribe": "audio_ms",
    "speak": "characters",
    "video": "video_ms",
}

# What a price list of a task must name, one group of these at least; else it would give something away.
NEEDED: Final[dict[str, tuple[frozenset[Unit], ...]]] = {
    "chat": (frozenset({"input_tokens", "output_tokens"}), frozenset({"requests"}), frozenset({"busy_us"})),
    "embed": (frozenset({"input_tokens"}), frozenset({"embeddings"}), frozenset({"requests"}), frozenset({"busy_us"})),
    "rerank": (frozenset({"input_tokens"}), frozenset({"documents"}), frozenset({"requests"}), frozenset({"busy_us"})),
    **{
        task: (frozenset({unit}), frozenset({"requests"}), frozenset({"busy_us"}))
        for task, unit in ITEMS.items()
        if task not in ("embed", "rerank")
    },
}


def missing(task: str, units: Iterable[str]) -> str:
    """Why these unit prices do not price a task; empty when they do."""
    given = set(units)
    groups = NEEDED.get(task, (frozenset({"requests"}),))
    if any(group <= given for group in groups):
        return ""
    return " or ".join(" and ".join(sorted(group)) for group in groups)


def picousd_per_unit(dollars: Decimal, unit: Unit) -> int:
    """The price of one, given the price of as many as a price list names; rounded up to the next pico-dollar.

    >>> picousd_per_unit(Decimal("0.02"), "input_tokens")
    20000
    """
    exact = dollars * PICOUSD_PER_USD / SCALES[unit][0]
    return int(exact.to_integral_value(rounding=ROUND_CEILING))


def dollars_each(picousd: int, unit: Unit) -> Decimal:
    """What a price list shows for a unit price.

    >>> dollars_each(20_000, "input_tokens")
    Decimal('0.02')
    """
    return Decimal(picousd * SCALES[unit][0]) / PICOUSD_PER_USD
