"""What a catalog asks for that will never happen: no fault, and nothing its author would want to find out by waiting.

Each caution names the value, why nothing comes of it, and the fix. Pure; used by check and apply.
"""

from collections.abc import Iterator
from typing import Final

from headrace.policy import performance, spot
from headrace.policy.options import candidates
from headrace.policy.spot import Pools, There
from headrace.specs import accelerators
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec, Scaling
from headrace.units import format_bytes

_PLENTY: Final = 1 << 20  # of devices: what is not done then is done never
_USUAL_IDLE_US: Final = Scaling().idle_to_zero_us


def cautions(catalog: Catalog) -> list[str]:
    """All of them, models first; empty for most files."""
    found: dict[str, None] = {}
    for model in catalog.models:
        pools = [pool for name in model.pools if (pool := catalog.pool(name)) is not None]
        told = [*_hours(model), *_hedge(model)]
        if model.owned and model.weight:
            told += [*_idle(model), *_sleep(model, pools), *_small(model, pools, catalog), *_spot(model, catalog)]
            told += _choice(model, pools, catalog)
        found |= dict.fromkeys(f"{model.key}: {caution}" for caution in told)
    used = {name for model in catalog.models if model.owned for name in model.pools}
    idle = [pool.name for pool in catalog.pools if pool.name not in used and pool.accelerator != "cpu"]
    return [
        *found,
        *(f"pool {name}: no model may live in it; name it in a placement, or leave it out" for name in idle),
    ]


def _idle(model: ModelSpec) -> Iterator[str]:
    """Idle times of a model of which one always runs."""
    limits = model.scaling
    least = min([limits.min_replicas, *(one.min_replicas for one in limits.schedule if one.min_replicas is not None)])
    if not least:
        return
    fix = "give min: 0, or remove it"
    if limits.idle_auto or limits.idle_to_zero_us not in (None, _USUAL_IDLE_US):
        yield f"scaling.idle_to_zero is never used: min is {least}, so that it never goes to zero; {fix}"
    if limits.idle_to_sleep_us is not None or (limits.sleep_auto and not limits.idle_auto):
        yield f"scaling.idle_to_sleep is never used: min is {least}, and those always stay awake; {fix}"


def _sleep(model: ModelSpec, pools: list[PoolSpec]) -> Iterator[str]:
    """Sleepers that have no RAM to lay their weights in."""
    asleep = model.engine.sleep
    if asleep is None or not asleep.host_bytes:
        return
    for pool in pools:
        if pool.host_bytes < asleep.host_bytes:
            has = f"{format_bytes(pool.host_bytes * pool.slices)} a device" if pool.host_bytes else "none"
            need_gb = -(-asleep.host_bytes * pool.slices // 10**9)
            yield (
                f"never sleeps in pool {pool.name}: at level {asleep.level} its weights "
                f"({format_bytes(asleep.host_bytes)}) lie in host_memory, and the pool has {has}; give the pool "
                f"host_memory: {need_gb}GB, or the engine sleep_level: 2"
            )


def _hours(model: ModelSpec) -> Iterator[str]:
    """A most in some hours that is below the least that always holds."""
    for number, window in enumerate(model.scaling.schedule):
        least, most = model.scaling.min_replicas, window.max_replicas
        if window.min_replicas is None and most is not None and most < least:
            yield (
                f"scaling.schedule[{number}].max is never kept: it is {most}, and min is {least} in those hours, too; "
                f"give the hours a min of {most} or less"
            )


def _hedge(model: ModelSpec) -> Iterator[str]:
    most = max([model.scaling.max_replicas, *(one.max_replicas or 0 for one in model.scaling.schedule)])
    if model.hedge and most < 2:
        yield "hedge is never done: it takes two replicas, and max is 1; raise scaling.max, or remove it"


def _small(model: ModelSpec, pools: list[PoolSpec], catalog: Catalog) -> Iterator[str]:
    """Pools that its placement names, and no replica fits in; one that may live in all was not asked about each."""
    if len(pools) == len(catalog.pools):
        return
    able = [pool for pool in pools if pool.memory_bytes >= model.memory_bytes]
    for pool in pools if able else ():
        if pool not in able:
            need, has = format_bytes(model.memory_bytes), format_bytes(pool.memory_bytes)
            yield f"never lives in pool {pool.name}: it needs {need}, a device has {has}; remove it from placement"


def _spot(model: ModelSpec, catalog: Catalog) -> Iterator[str]:
    """Spot that comes first and is never used, or never has one to spare."""
    kinds = spot.pools_of(model, {pool.name: pool for pool in catalog.pools})
    limits = model.scaling
    if kinds is None or any(one.max_replicas for one in limits.schedule):
        return
    counts = {max(1, limits.min_replicas), min(2, limits.max_replicas), limits.max_replicas}
    made = [spot.split(limits, kinds, There(spot_room=_PLENTY, firm_room=_PLENTY), count) for count in counts]
    names = ", ".join(kinds.spot)
    if not any(one.start_spot for one in made):
        yield f"never lives on spot ({names}): {_why_never(limits, kinds)}"
    elif limits.min_replicas == limits.max_replicas and limits.max_replicas > 1:
        yield (
            f"has never a replica to spare on spot ({names}): min and max are {limits.max_replicas}, and max is never "
            "passed; raise scaling.max by one"
        )


def _why_never(limits: Scaling, kinds: Pools) -> str:
    if limits.max_replicas == 1 and limits.min_replicas:
        return "min and max are 1, and one always stays on a pool that is not interruptible; raise max, or give min: 0"
    there, stays = (kinds.spot_nanousd or 0) / 1e9, (kinds.firm_nanousd or 0) / 1e9  # where unknown it is not dear
    return (
        f"with one to spare it costs more there, ${there:.4f} an hour a replica against ${stays:.4f}; correct the "
        "prices, or leave it out of placement"
    )


def _choice(model: ModelSpec, pools: list[PoolSpec], catalog: Catalog) -> Iterator[str]:
    """A choice by cost among pools that nobody will ever be able to compare."""
    if model.task != "chat" or not model.by_cost or len(pools) < 2 or any(pool.interruptible for pool in pools):
        return
    names = ", ".join(pool.name for pool in pools)
    told = f"choose: cost cannot choose among its pools ({names})"
    if not candidates(model, catalog):
        lacking = ", ".join(pool.name for pool in pools if pool.price_nanousd_per_hour is None)
        yield f"{told}: {lacking} has no price; give it a price_per_hour, or say choose: order"
        return
    first, *others = pools
    if any(_comparable(model, first, other) for other in others):
        return
    unknown = [pool.accelerator for pool in others if accelerators.named(pool.accelerator) is None]
    lacking = f"{unknown[0]} is not in the table of accelerators" if unknown else "it has no shape"
    yield (
        f"{told}: how fast it is elsewhere than in {first.name} is never known, {lacking}; "
        f"{'say choose: order' if unknown else 'give it a shape, or say choose: order'}"
    )


def _comparable(model: ModelSpec, first: PoolSpec, other: PoolSpec) -> bool:
    """Whether it is known how fast it is in another pool, at the latest when it was measured in the first."""
    if performance.foretold(model, other) is not None:
        return True
    return other.accelerator == first.accelerator and accelerators.named(other.accelerator) is None
