"""Whether a catalog can hold on the devices there are, and keep its promises on them, before anything is started.

Each problem names the value, the limit and the nearest change that would do. Pure; used by check and apply.
"""

from collections.abc import Sequence
from typing import Final

from headrace.policy import performance
from headrace.policy.performance import Roofline
from headrace.policy.placement import Space
from headrace.specs import accelerators
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.state.fleet import Device, Fleet
from headrace.units import format_bytes

SURE_PERCENT: Final = 125  # of the promised time: the performance model errs by 4 % on average, 9 % on the worst device


def problems(catalog: Catalog, devices: Sequence[Device]) -> list[str]:
    """Why not; empty when every model fits. `devices` carry pool names."""
    found: list[str] = []
    owned = [model for model in catalog.models if model.owned]
    for model in owned:
        told = (_size(model, catalog, devices), _weights(model), _pace(model, catalog))
        found += [f"{model.key}: {problem}" for problem in told if problem]
    return found or _together(owned, devices)


def _size(model: ModelSpec, catalog: Catalog, devices: Sequence[Device]) -> str:
    room = [device.memory_bytes for device in devices if device.pool in model.pools]
    if not room:
        pools = ", ".join(model.pools)
        others = ", ".join(sorted({one.pool for one in devices if one.memory_bytes >= model.memory_bytes}))
        fix = f"place it in a pool that has one{f', such as {others}' if others else ''}"
        return f"none of its pools ({pools}) has a device on this machine; {fix}"
    if model.memory_bytes <= max(room):
        return ""
    need, largest = format_bytes(model.memory_bytes), format_bytes(max(room))
    return f"needs {need}, the largest device of its pools has {largest}; {_larger(model, catalog, devices)}"


def _larger(model: ModelSpec, catalog: Catalog, devices: Sequence[Device]) -> str:
    """The nearest place for a model that its own pools are too small for."""
    fitting = [device for device in devices if device.memory_bytes >= model.memory_bytes]
    if fitting:
        nearest = min(fitting, key=lambda device: (device.memory_bytes, device.pool))
        return f"place it in {nearest.pool}, whose devices have {format_bytes(nearest.memory_bytes)}"
    for pool in (found for name in model.pools if (found := catalog.pool(name)) is not None and found.mig):
        whole = accelerators.named(pool.accelerator)
        profiles = [one for one in whole.partitions if one.usable_bytes >= model.memory_bytes] if whole else []
        if profiles:
            nearest_profile = min(profiles, key=lambda one: (one.usable_bytes, one.compute))
            return f"cut pool {pool.name} into {nearest_profile.name} instead of {pool.mig}"
    return "choose a smaller model or a larger pool"


def _weights(model: ModelSpec) -> str:
    if model.shape is None or model.shape.weight_bytes <= model.memory_bytes:
        return ""
    weights, bits = format_bytes(model.shape.weight_bytes), model.shape.weight_bits
    given = format_bytes(model.memory_bytes)
    return f"its weights alone are {weights} at {bits} bits, memory is {given}; give it more, or weights of fewer bits"


def _pace(model: ModelSpec, catalog: Catalog) -> str:
    """Output tokens that no pool of its placement can keep in time, not even for one request with an empty context."""
    pools = [pool for name in model.pools if (pool := catalog.pool(name)) is not None]
    foretold = [(found.step_ns(1, 1), pool) for pool in pools if (found := performance.foretold(model, pool))]
    if not foretold or len(foretold) < len(pools):  # a pool that nobody can foretell may keep it
        return ""
    step_ns, pool = min(foretold, key=lambda one: one[0])
    if step_ns * 100 <= model.objective.tpot_us * 1000 * SURE_PERCENT:
        return ""
    promised, least = model.objective.tpot_us / 1000, step_ns / 1_000_000
    return (
        f"promises an output token in {promised:.3g} ms, and one alone takes {least:.1f} ms on {pool.name}, the "
        f"fastest of its pools; {_faster(model, pool, catalog, least)}"
    )


def _faster(model: ModelSpec, pool: PoolSpec, catalog: Catalog, least_ms: float) -> str:
    """The nearest place that keeps it: another pool of the file, else a kind of device; and what can be promised."""
    assert model.shape is not None, "it was foretold"
    promise = f"objective.tpot: {-(-round(least_ms * 10) // 10)}ms"
    for other in catalog.pools:
        found = performance.foretold(model, other)
        if other.name not in model.pools and found and found.step_ns(1, 1) <= model.objective.tpot_us * 1000:
            return f"place it in {other.name}, or promise {promise}"
    kept = [
        device
        for device in accelerators.TABLE.values()
        if device.memory_bytes >= model.memory_bytes
        and Roofline(model.shape, device).step_ns(1, 1) <= model.objective.tpot_us * 1000
    ]
    if not kept:
        return f"no device of the table keeps that for {model.shape.weight_bits} bit weights: promise {promise}"
    nearest = min(kept, key=lambda device: device.bandwidth)
    return f"a whole {nearest.name} keeps it ({pool.name} is {pool.mig or pool.accelerator}), or promise {promise}"


def _together(owned: Sequence[ModelSpec], devices: Sequence[Device]) -> list[str]:
    """Each fits alone; whether all the least numbers of replicas fit at once."""
    found = []
    space = Space.of(Fleet(devices=tuple(devices), replicas=(), at_us=0))
    for model in owned:
        least = model.scaling.min_replicas if model.weight else 0
        for number in range(least):
            device = space.find(model)
            if device is None:
                more = _devices_more(model, devices, least - number)
                why = space.why_not(model)
                found.append(f"{model.key}: replica {number + 1} of min {least} does not fit: {why}; {more}")
                break
            space.take(device, model)
    return found


def _devices_more(model: ModelSpec, devices: Sequence[Device], missing: int) -> str:
    """How many devices more of the first pool that can hold it would do."""
    held = next(
        device
        for pool in model.pools
        for device in devices
        if device.pool == pool and device.memory_bytes >= device.takes(model.memory_bytes)
    )
    each = held.memory_bytes // held.takes(model.memory_bytes)
    count = -(-missing // each)
    return f"{count} more device{'s' if count > 1 else ''} in {held.pool} would do, or a min of {missing} less"
