"""What one replica can serve while it keeps its promises: its batch, its rate, and the work of a request.

The work of a request is the time of one replica that it takes when the replica runs at the largest batch that keeps
the time per output token. One replica serves one second of work a second; that makes load of different models, lengths
and devices comparable, and is what scaling counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from headrace.policy.performance import Performance
from headrace.specs.catalog import ModelSpec, PoolSpec
from headrace.state.work import WorkRate

BATCH_MAX: Final = 1024
KV_PPM: Final = 900_000  # of the KV cache that a batch may fill: lengths differ
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Point:
    """A replica at work: `batch` sequences, nanoseconds of a step and of the mean prompt, requests an hour."""

    batch: int
    step_ns: float
    prefill_ns: float
    requests_per_hour: float


def point(performance: Performance, input_tokens: int, output_tokens: int, tpot_us: int, slots: int) -> Point | None:
    """The largest batch whose time per output token, prompts of newcomers included, is at most `tpot_us`.

    None when a lone request's step does not keep it, or it does not fit. Where requests are nearly all prompt, so that
    no full replica could keep it, newcomers' prompts are left out of account: what waits then is the first token.

    Formula: rate = 1 / (prefill + out step(b) / b); tpot = step(b) / (1 - rate prefill)
    Units: nanoseconds; b sequences; rate in requests a nanosecond.
    Source: continuous batching in steady state: each output token waits for the prompts that came in between.
    Assumes: requests of one length; the KV cache is at most 90 % full.
    """
    context = input_tokens + output_tokens / 2
    prefill_ns = performance.prefill_ns(input_tokens)
    room = performance.kv_tokens * KV_PPM // _MILLION // max(1, input_tokens + output_tokens)
    most = min(slots, BATCH_MAX, room)

    def at(batch: int) -> Point:
        step_ns = performance.step_ns(batch, context)
        return Point(batch, step_ns, prefill_ns, 3.6e12 / (prefill_ns + output_tokens * step_ns / batch))

    def strict(batch: int) -> bool:
        found = at(batch)
        return found.step_ns / max(1e-9, 1 - prefill_ns * found.requests_per_hour / 3.6e12) <= tpot_us * 1000

    if output_tokens > 1:  # both grow with the batch
        most = _largest(most, lambda batch: performance.step_ns(batch, context) <= tpot_us * 1000)
        most = _largest(most, strict) or most
    return at(most) if most > 0 else None


def _largest(most: int, holds: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` for which it holds, as it does for all below; 0 where for none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def rate(performance: Performance, at: Point, input_tokens: int) -> WorkRate:
    """The work of requests at that point, linear in tokens.

    The prompt is taken linear through the mean length: exact there, and a little less than it is far above it.
    """
    least_ns = performance.prefill_ns(1)
    slope = (at.prefill_ns - least_ns) / (input_tokens - 1) if input_tokens > 1 else 0.0
    fixed_ns = at.prefill_ns - input_tokens * slope
    output_ns = round(at.step_ns / at.batch)
    return WorkRate(fixed_ns=round(fixed_ns), input_ns=round(slope), output_ns=output_ns, batch=at.batch)


def kept(performance: Performance, model: ModelSpec, input_tokens: int, output_tokens: int) -> Point | None:
    """The best point that keeps all a model promises, its first token too; None when there is none."""
    if performance.prefill_ns(input_tokens) > model.objective.ttft_us * 1000:
        return None
    return point(performance, input_tokens, output_tokens, model.objective.tpot_us, model.engine.slots)


def part(model: ModelSpec, pool: PoolSpec) -> Fraction:
    """How much of a device one replica costs: as many of them fit on it, each its part; 0 where none does.

    >>> from headrace.specs.catalog import EngineSpec
    >>> pool = PoolSpec(name="p", accelerator="cpu", count=1, memory_bytes=80)
    >>> fields = {"name": "m", "version": "v1", "weight": 1, "task": "chat", "source": "", "pools": ("p",)}
    >>> part(ModelSpec(engine=EngineSpec(kind="vllm"), memory_bytes=30, **fields), pool)
    Fraction(1, 2)
    """
    takes = -(-model.memory_bytes // pool.grain_bytes) * pool.grain_bytes if pool.grain_bytes else model.memory_bytes
    return Fraction(1, pool.memory_bytes // takes) if takes <= pool.memory_bytes else Fraction(0)
