"""Two pools for one model, its requests cut by the length of their prompts: short ones on one, long ones on the other.

A pair costs less than one pool where each does what it does cheaply, or where both are filled better: half a large
device and half of six small ones are one of each. Pure; `choice` compares pairs with single pools.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

import msgspec

from headrace.policy import capacity, lengths
from headrace.policy.lengths import Lengths, Mix
from headrace.policy.options import Asked, Option, option
from headrace.policy.performance import Performance
from headrace.policy.sizing import SLACK
from headrace.specs.catalog import ModelSpec, PoolSpec
from headrace.state.work import WorkRate

BETTER: Final = 0.05  # of what is paid now must be saved at least, before a change is thought of
_LEAST: Final = 2  # replicas of a model that stands in two pools


@dataclass(frozen=True, slots=True)
class Cut:
    """Prompts of at most so many tokens on one pool, longer ones on the other; `mixes` are the requests of each, and
    `shares` their parts of the work.
    """

    upto_tokens: int
    short: Option
    long: Option
    mixes: tuple[Mix, Mix]
    shares: tuple[float, float]

    @property
    def pools(self) -> tuple[str, ...]:
        """Where the model's replicas stand."""
        return self.short.pool, self.long.pool

    @property
    def border(self) -> int:
        """Where it cuts requests by length."""
        return self.upto_tokens

    @property
    def nanousd(self) -> float | None:
        """What both cost an hour; None where one of them cannot be."""
        if self.short.nanousd is None or self.long.nanousd is None:
            return None
        return self.short.nanousd + self.long.nanousd

    @property
    def fill(self) -> float:
        """How full the replicas of the fuller part are."""
        return max(self.short.fill, self.long.fill)

    @property
    def why(self) -> str:
        """Why it cannot be."""
        return self.short.why or self.long.why

    def told(self) -> str:
        """In words."""
        here = f"{self.short.pool} for prompts up to {self.upto_tokens} tokens and {self.long.pool} beyond"
        if self.nanousd is None:
            return f"{here} cannot: {self.why}"
        counts = f"{self.short.replicas:.2f} and {self.long.replicas:.2f} replicas"
        return f"{here} ${self.nanousd / 1e9:.4f} an hour ({counts})"

    def costs(self) -> dict[str, float]:
        """What each pool costs an hour."""
        return {one.pool: one.nanousd or 0.0 for one in (self.short, self.long)}


@dataclass(frozen=True, slots=True)
class Given:
    """What pairs are made of: pools and how fast they are, the lengths of requests, how many, and the work of each."""

    speeds: Sequence[tuple[PoolSpec, Performance]]
    lengths: Lengths
    asked: Asked
    work_us: Callable[[int, int], int]


def cheapest(model: ModelSpec, given: Given, below: float = inf) -> list[Cut]:
    """Of each pair of pools the border at which it costs least, where that is less than `below` nano-dollars an hour.

    Of equals the one whose fuller part is less full.

    Formula: min over borders of cost(short part on a) + cost(long part on b), each as `options.option` has it;
        a part i with a share s_i of the requests, of work w_i each, asks for r ((1 - v) s_i + v d_i),
        d_i = sqrt(s_i) sum(s w) / sqrt(sum(s w^2)), v the noise.
    Units: requests an hour; w microseconds of a replica.
    Source: Melange (Griggs et al. 2024) with two buckets whose border is free; noises of parts add up as squares.
    Assumes: each part keeps a replica at least; the pool of the long ones holds what the other one does.
    """
    best: dict[tuple[str, ...], Cut] = {}
    least = sum(sorted(_each(model, pool) for pool, _ in given.speeds)[:_LEAST])
    if model.scaling.max_replicas < _LEAST or least >= below:
        return []
    for upto_tokens in given.lengths.borders():
        for found in _at(model, given, upto_tokens, below):
            if found.nanousd is None or found.nanousd >= below:
                continue
            other = best.get(found.pools)
            if other is None or (found.nanousd, found.fill) < (other.nanousd, other.fill):
                best[found.pools] = found
    return list(best.values())


def standing(
    model: ModelSpec, given: Given, pools: tuple[str, ...], upto_tokens: int, have: Mapping[str, int]
) -> Cut | None:
    """A pair that stands, with the border it has and the replicas that are there; None where there are no requests on
    one side of it any more.
    """
    if not all(given.lengths.either(upto_tokens)):
        return None
    found = _at(model, given, upto_tokens, inf, have)
    return next((one for one in found if one.pools == pools), None)


def _at(
    model: ModelSpec, given: Given, upto_tokens: int, below: float, have: Mapping[str, int] | None = None
) -> Iterator[Cut]:
    """All pairs with that border that may cost less than `below`."""
    speeds, mixes = given.speeds, given.lengths.cut(upto_tokens)
    rates, shares = _asked(mixes, given)
    serves = [{pool.name: lengths.serves(model, speed, mix) for pool, speed in speeds} for mix in mixes]
    made: dict[tuple[int, str], Option] = {}

    def side(place: int, pool: PoolSpec) -> Option:
        if (place, pool.name) not in made:
            spec, can = parted(model)[place], serves[place][pool.name]
            there = None if have is None else have.get(pool.name, 0)
            made[place, pool.name] = option(spec, pool, can, mixes[place], rates[place], there)
        return made[place, pool.name]

    def least(place: int, pool: PoolSpec) -> float:
        rate = rates[place].per_hour
        mean = sum(rate) / len(rate) / serves[place][pool.name][0]
        return max(1.0, mean - SLACK) * _each(model, pool)

    for near_pool, near in speeds:
        for far_pool, far in speeds:
            holds = far.kv_tokens >= min(near.kv_tokens, model.engine.context_tokens)
            if near_pool is far_pool or not holds or least(0, near_pool) + least(1, far_pool) >= below:
                continue
            found = Cut(upto_tokens, side(0, near_pool), side(1, far_pool), mixes, shares)
            if found.short.replicas + found.long.replicas <= model.scaling.max_replicas:
                yield found


def _each(model: ModelSpec, pool: PoolSpec) -> float:
    """What a replica costs an hour."""
    return float(capacity.part(model, pool)) * (pool.price_nanousd_per_hour or 0)


def parted(model: ModelSpec, split: tuple[int, int] = (1, 0)) -> tuple[ModelSpec, ModelSpec]:
    """The model's two parts, to be sized: each has one replica at least, and leaves one to the other. Its minimum is
    shared out as `split` has it.
    """
    limits = model.scaling
    most, rest = max(1, limits.max_replicas - 1), max(1, limits.min_replicas - 1)
    few = min(most, rest, max(1, limits.min_replicas * split[0] // sum(split)))
    leasts = few, max(1, min(most, limits.min_replicas - few))
    short, long = (msgspec.structs.replace(limits, min_replicas=least, max_replicas=most) for least in leasts)
    return msgspec.structs.replace(model, scaling=short), msgspec.structs.replace(model, scaling=long)


def rates(model: ModelSpec, cut: Cut, speeds: dict[str, Performance]) -> tuple[WorkRate | None, WorkRate | None]:
    """The work of a request of either part where it is served."""
    short, long = cut.pools
    return lengths.rate(model, speeds[short], cut.mixes[0]), lengths.rate(model, speeds[long], cut.mixes[1])


def _asked(mixes: tuple[Mix, Mix], given: Given) -> tuple[list[Asked], tuple[float, float]]:
    """What each part is asked for at each look, with its part of the noise; and its part of the work."""
    total = sum(mix.requests for mix in mixes)
    shares = [mix.requests / total for mix in mixes]
    asked = given.asked
    works = [given.work_us(mix.input_tokens, mix.output_tokens) for mix in mixes]
    mean = sum(share * work for share, work in zip(shares, works, strict=True))
    spread = sqrt(sum(share * work * work for share, work in zip(shares, works, strict=True)))
    parts = [(1 - asked.noise) * share + asked.noise * sqrt(share) * mean / spread for share in shares]
    short = shares[0] * works[0] / mean
    per_hour = [[part * rate for rate in asked.per_hour] for part in parts]
    return [Asked(rates, asked.noise, asked.calm) for rates in per_hour], (short, 1 - short)


def cost(one: Option | Cut) -> float:
    """Nano-dollars an hour, to compare by: what cannot be costs more than all else."""
    return inf if one.nanousd is None else one.nanousd


def better(one: Option | Cut, here: Option | Cut, times: float = 1.0) -> bool:
    """Whether it costs so much less that a change is thought of."""
    return cost(here) - cost(one) >= times * BETTER * cost(here) and cost(one) < inf
