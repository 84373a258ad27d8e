"""What lengths a model's requests have now, and what a replica makes of them: how many an hour, at what work each.

Prompts of one mix may be of very different lengths, and a long one takes more than its share: their time is that of
each class of lengths, and not that of their mean. Pure; the caller tells the time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp
from typing import Final

from headrace.policy import capacity
from headrace.policy.capacity import Point
from headrace.policy.performance import Performance
from headrace.specs.catalog import ModelSpec
from headrace.state.mix import Sizes, since
from headrace.state.work import WorkRate
from headrace.units import US_PER_HOUR, US_PER_MINUTE

MEMORY_US: Final = 5 * US_PER_MINUTE  # those of so long ago count a third, where there are enough newer ones
OLDEST_US: Final = US_PER_HOUR  # and where there are not
ENOUGH: Final = 300  # requests in memory
FEW: Final = 0.02  # of the requests are too few for a part of their own
LONGEST: Final = 0.99  # of the prompts are no longer than what is called the longest
BEYOND: Final = 8  # times the mean prompt, at which a prompt's time is taken to grow at least
_FOREVER_US: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Mix:
    """Requests as they are asked: tokens in and out in the mean, the longest prompts, and prompts by class.

    `prompts` are (part of the requests, mean tokens); `requests` how many it rests on, older ones counting less.
    """

    requests: float
    input_tokens: int
    output_tokens: int
    longest_tokens: int
    prompts: tuple[tuple[float, int], ...]

    def prefill_ns(self, performance: Performance) -> float:
        """What a prompt takes in the mean."""
        return sum(part * performance.prefill_ns(tokens) for part, tokens in self.prompts)


TYPICAL: Final = Mix(0.0, 256, 128, 256, ((1.0, 256),))


class Lengths:
    """The memory of one model's requests."""

    __slots__ = ("_counts", "_told", "_us")

    def __init__(self, now_us: int) -> None:
        self._told: Sizes = {}
        self._counts: dict[int, tuple[float, float, float]] = {}
        self._us = now_us

    @property
    def requests(self) -> float:
        """How many are remembered."""
        return sum(counted[0] for counted in self._counts.values())

    def note(self, sizes: Sizes, now_us: int) -> None:
        """All that was counted up to now."""
        memory_us = MEMORY_US if self.requests >= ENOUGH else OLDEST_US
        keep = exp(-(now_us - self._us) / memory_us)
        self._us = now_us
        new = since(sizes, self._told) if sizes else {}
        self._told = sizes or self._told
        for place in self._counts.keys() | new.keys():
            before, more = self._counts.get(place, (0.0, 0.0, 0.0)), new.get(place, (0, 0, 0))
            self._counts[place] = (keep * before[0] + more[0], keep * before[1] + more[1], keep * before[2] + more[2])

    def mix(self) -> Mix:
        """As they are now; typical ones where none is known."""
        return _mix(self._counts) if self.requests >= 1 else TYPICAL

    def borders(self) -> list[int]:
        """Lengths of prompts between two classes, with one in fifty requests at least on either side."""
        least, requests, below, found = FEW * self.requests, self.requests, 0.0, list[int]()
        for place, counted in sorted(self._counts.items()):
            below += counted[0]
            if below >= max(1.0, least) and requests - below >= max(1.0, least):
                found.append((1 << place) - 1)
        return found

    def either(self, upto_tokens: int) -> tuple[float, float]:
        """How many are remembered of at most so many tokens, and of more; 0 where it is not one."""
        long = sum(counted[0] for place, counted in self._counts.items() if 1 << place > upto_tokens + 1)
        short = self.requests - long
        return short if short >= 1 else 0.0, long if long >= 1 else 0.0

    def cut(self, upto_tokens: int) -> tuple[Mix, Mix]:
        """Those of at most so many tokens, a border, and those of more; some of either are known."""
        short = {place: counted for place, counted in self._counts.items() if 1 << place <= upto_tokens + 1}
        long = {place: counted for place, counted in self._counts.items() if place not in short}
        return _mix(short), _mix(long)


def _mix(counts: dict[int, tuple[float, float, float]]) -> Mix:
    requests = sum(counted[0] for counted in counts.values())
    prompts = tuple(
        (count / requests, max(1, round(tokens / count)))
        for _, (count, tokens, _) in sorted(counts.items())
        if count > requests / 10_000
    )
    return Mix(
        requests=requests,
        input_tokens=max(1, round(sum(counted[1] for counted in counts.values()) / requests)),
        output_tokens=round(sum(counted[2] for counted in counts.values()) / requests),
        longest_tokens=_longest(prompts),
        prompts=prompts,
    )


def _longest(prompts: Iterable[tuple[float, int]]) -> int:
    """The class within which 99 of 100 prompts are.

    >>> _longest([(0.5, 100), (0.495, 300), (0.005, 6000)])
    300
    """
    seen, longest = 0.0, 1
    for part, tokens in prompts:
        seen, longest = seen + part, tokens
        if seen >= LONGEST:
            break
    return longest


@dataclass(frozen=True, slots=True)
class _Blend:
    """A replica whose every prompt takes what the mix's prompts take in the mean."""

    of: Performance
    mean_ns: float

    @property
    def kv_tokens(self) -> int:
        return self.of.kv_tokens

    @property
    def first_ns(self) -> int:
        return self.of.first_ns

    def prefill_ns(self, tokens: int, cached: int = 0) -> float:
        del tokens, cached
        return self.mean_ns

    def step_ns(self, batch: float, context: float) -> float:
        return self.of.step_ns(batch, context)


def serves(model: ModelSpec, performance: Performance, mix: Mix) -> tuple[float, bool]:
    """Requests an hour of one replica, and whether it keeps the promises, the longest prompt's first token included.

    Where it cannot keep them it is what all its slots do.
    """
    at = _point(model, performance, mix, model.objective.tpot_us)
    in_time = performance.prefill_ns(mix.longest_tokens) <= model.objective.ttft_us * 1000
    if at is not None:
        return at.requests_per_hour, in_time
    at = _point(model, performance, mix, _FOREVER_US)
    return (at.requests_per_hour if at is not None else 1e-9), False  # else it does not fit there at all


def rate(model: ModelSpec, performance: Performance, mix: Mix) -> WorkRate | None:
    """The work of a request, exact for the mean: least squares over classes of prompts, or what longer ones take."""
    at = _point(model, performance, mix, model.objective.tpot_us) or _point(model, performance, mix, _FOREVER_US)
    if at is None:
        return None
    mean_tokens = sum(part * tokens for part, tokens in mix.prompts)
    spread = sum(part * (tokens - mean_tokens) ** 2 for part, tokens in mix.prompts)
    slope = (performance.prefill_ns(BEYOND * mix.input_tokens) - performance.prefill_ns(mix.input_tokens)) / (
        (BEYOND - 1) * mix.input_tokens
    )
    if spread > 0:
        along = (part * (tokens - mean_tokens) * performance.prefill_ns(tokens) for part, tokens in mix.prompts)
        slope = max(slope, sum(along) / spread)
    slope = min(slope, at.prefill_ns / mix.input_tokens)
    return WorkRate(
        fixed_ns=round(at.prefill_ns - slope * mix.input_tokens),
        input_ns=round(slope),
        output_ns=round(at.step_ns / at.batch),
        batch=at.batch,
    )


def drifted(mix: Mix, told: Mix, times: float) -> bool:
    """Whether requests are so many times longer or shorter now."""
    pairs = ((mix.input_tokens, told.input_tokens), (mix.output_tokens, told.output_tokens))
    return any(max(pair) > times * max(1, min(pair)) for pair in pairs)


def _point(model: ModelSpec, performance: Performance, mix: Mix, tpot_us: int) -> Point | None:
    blend = _Blend(performance, mix.prefill_ns(performance))
    return capacity.point(blend, mix.input_tokens, mix.output_tokens, tpot_us, model.engine.slots)
