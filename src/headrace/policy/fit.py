"""Whether a catalog can hold on the devices there are, before anything is started. Pure; used by check and apply."""

from collections.abc import Sequence

from headrace.policy.placement import Space
from headrace.specs.catalog import Catalog
from headrace.state.fleet import Device, Fleet
from headrace.units import format_bytes


def problems(catalog: Catalog, devices: Sequence[Device]) -> list[str]:
    """Why not, each with the value, the limit and the fix; empty when every model fits. `devices` carry pool names."""
    found = []
    space = Space.of(Fleet(devices=tuple(devices), replicas=(), at_us=0))
    owned = [model for model in catalog.models if model.owned]
    for model in owned:
        room = [device.memory_bytes for device in devices if device.pool in model.pools]
        if not room:
            found.append(
                f"{model.key}: none of its pools ({', '.join(model.pools)}) has a device on this machine; "
                f"place it in a pool that has one"
            )
        elif model.memory_bytes > max(room):
            found.append(
                f"{model.key}: needs {format_bytes(model.memory_bytes)}, the largest device of its pools has "
                f"{format_bytes(max(room))}; choose a smaller model or a larger pool"
            )
    if found:
        return found
    for model in owned:
        for number in range(model.scaling.min_replicas if model.weight else 0):
            device = space.find(model)
            if device is None:
                found.append(
                    f"{model.key}: replica {number + 1} of min {model.scaling.min_replicas} does not fit: "
                    f"{space.why_not(model)}"
                )
                break
            space.take(device, model)
    return found
