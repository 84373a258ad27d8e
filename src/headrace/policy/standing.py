"""Where a model stands already: by its replicas, or as an earlier controller left it. Pure; called by `choice`."""

from collections.abc import Sequence

from headrace.policy.cuts import Cut
from headrace.policy.lengths import ENOUGH, Lengths
from headrace.policy.options import Option
from headrace.specs.catalog import ModelSpec
from headrace.state.divided import Divided
from headrace.state.fleet import Fleet


def supposed(options: Sequence[Option | Cut], there: tuple[str, ...]) -> tuple[str, ...]:
    """Where a model stands that an earlier controller placed: on the pool with its replicas; of several the cheapest
    way to stand on them, else the one with most.
    """
    may = [one for one in options if one.nanousd is not None and set(one.pools) <= set(there)]
    return min(may, key=lambda one: one.nanousd or 0.0).pools if len(there) > 1 and may else there[:1]


def mean_able(options: Sequence[Option | Cut], there: tuple[str, ...]) -> float:
    """What a replica does there in the mean, requests an hour."""
    found = [one.able for one in options if isinstance(one, Option) and one.pool in there]
    return sum(found) / len(found) if found else next(one.able for one in options if isinstance(one, Option))


def anywhere(model: ModelSpec, fleet: Fleet) -> bool:
    """Whether it has a replica at all."""
    return any(replica.key == model.key and replica.phase != "failed" for replica in fleet.replicas)


def counts(model: ModelSpec, fleet: Fleet) -> dict[str, int]:
    """A model's replicas by pool, the pool with most first: where it was chosen to have them, or an earlier controller
    chose.
    """
    found: dict[str, int] = {}
    for replica in fleet.replicas:
        there = replica.phase in ("pending", "starting", "ready") and replica.pool in model.pools
        if replica.key == model.key and there:
            found[replica.pool] = found.get(replica.pool, 0) + 1
    return {pool: found[pool] for pool in sorted(found, key=lambda pool: (-found[pool], pool))}


def split(model: ModelSpec, stands: tuple[str, ...], fleet: Fleet) -> tuple[int, int]:
    """How many replicas a divided model has on either of its pools; (1, 0) where one has none."""
    found = counts(model, fleet)
    short, long = (found.get(pool, 0) for pool in stands)
    return (short, long) if short and long else (1, 0)


def still(left: Divided, model: ModelSpec, lengths: Lengths, speeds: int, least: int) -> bool:
    """Whether a division that an earlier controller left stays as it is, since too little is known to judge it.

    Judged once the speed of two pools is known, and `least` requests of which some are on either side of the border:
    where the rarer ones may be one in fifty, nobody has missed them before several hundred have come.
    """
    if set(left.pools) != set(model.pools):
        return False
    few = speeds < 2 or lengths.requests < least
    return few or (lengths.requests < ENOUGH and not all(lengths.either(left.cut.upto_tokens)))
