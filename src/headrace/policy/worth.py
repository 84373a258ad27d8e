"""What a decision costs, and what the other choice would have: words for reasons, decided by others. Pure."""

from headrace.policy.planning import Work, within
from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Device, Replica
from headrace.units import NANOUSD_PER_USD, US_PER_HOUR


def placed(work: Work, model: ModelSpec, device: Device, reason: str) -> str:
    """Why a replica is started, where, what it costs there, and what it would have on the other pools it may live in.

    Where the choice was made by cost, `reason` tells that of the pools already. Asked before the memory is taken.
    """
    cost = work.share_nanousd(device.takes(model.memory_bytes), device.pool, US_PER_HOUR)
    if model.key in work.learned.homes or not cost:
        return reason
    told = [f"on {device.pool} for {_hourly(cost)}"]
    for name in model.pools:
        there = work.space.devices.get(name, ())
        if name == device.pool or not there:
            continue
        other = work.share_nanousd(there[0].takes(model.memory_bytes), name, US_PER_HOUR)
        full = "" if work.space.find(within(model, (name,))) is not None else ", but has no room"
        told.append(f"{name} would cost {_hourly(other) if other else 'nobody knows what'}{full}")
    return "; ".join((reason, *told))


def kept(work: Work, replica: Replica) -> str:
    """What a replica that is stopped would go on costing; empty where nobody said what its device costs."""
    cost = work.share_nanousd(replica.held_bytes, replica.pool, US_PER_HOUR)
    return f"; kept, it would cost {_hourly(cost)}" if cost else ""


def again(regret_nanousd: float) -> str:
    """Why it is this one who makes room: what its going costs in the mean."""
    if not regret_nanousd:
        return ""
    return (
        f"; it was chosen since its going costs least: ${regret_nanousd / NANOUSD_PER_USD:.6f} in the mean to wake it"
    )


def _hourly(nanousd: int) -> str:
    return f"${nanousd / NANOUSD_PER_USD:.4f} an hour"
