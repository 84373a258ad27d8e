"""How many replicas one model version should have now, and why. Pure.

The signal is work: requests at work and held, over the slots of a replica filled to a target. A model is woken by its
first held request, and put to sleep when it has been idle as long as its spec says.
"""

from typing import Final

from headrace.specs.catalog import ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Replica
from headrace.units import format_us

TARGET_FILL: Final = 0.8  # of a replica's slots; the rest is room for bursts while another one starts
SHRINK_IDLE_SHARE: Final = 4  # an extra replica is kept for a quarter of the idle time after it was last needed


def desired(model: ModelSpec, replicas: tuple[Replica, ...], demand: Demand | None, now_us: int) -> tuple[int, str]:
    """Replicas wanted, and the reason in words.

    Formula: ceil((in_flight + queued) / (slots * 0.8)), within [min, max]; 0 after the idle time.
    Units: requests; slots per replica.
    Source: utilisation target of a queue with c servers; the fill leaves room for the start of one more replica.
    Assumes: requests of one model take alike long. `demand.last_us` and `now_us` are of the same clock.
    Example: 10 at work, none held, 8 slots: ceil(10 / 6.4) = 2.
    """
    least, most = model.scaling.min_replicas, model.scaling.max_replicas
    current = len(replicas)
    asked = demand.in_flight + demand.queued if demand else 0
    if asked:
        needed = -(-asked * 10 // (model.engine.slots * int(TARGET_FILL * 10)))
        if current and needed > current and not (demand and demand.queued):
            needed = current  # all have a slot: more replicas would not start them sooner
        wanted = max(least, min(most, max(1, needed)))
        held = f", {demand.queued} held" if demand and demand.queued else ""
        if wanted < current and not _shrink_due(model, demand, replicas, now_us):
            return min(current, most), f"{asked} at work{held}: kept, since a smaller fleet was too small lately"
        return wanted, f"{asked} requests at work{held}: {wanted} x {model.engine.slots} slots"
    if current <= least:
        return least, f"minimum of {least}"
    idle_us = model.scaling.idle_to_zero_us
    if idle_us is None:
        return max(least, min(1, most, current)), "idle, and never put to zero"
    quiet_us = now_us - _last_us(demand, replicas)
    if quiet_us >= idle_us:
        return least, f"idle for {format_us(quiet_us)}, limit {format_us(idle_us)}"
    if current > 1 and quiet_us >= idle_us // SHRINK_IDLE_SHARE:
        return max(least, 1), f"idle for {format_us(quiet_us)}: one replica is enough to keep"
    return min(current, most), f"idle for {format_us(quiet_us)} of {format_us(idle_us)}"


def _shrink_due(model: ModelSpec, demand: Demand | None, replicas: tuple[Replica, ...], now_us: int) -> bool:
    idle_us = model.scaling.idle_to_zero_us or 60_000_000
    newest = max((replica.ready_us or replica.launched_us for replica in replicas), default=0)
    return demand is not None and not demand.queued and now_us - newest >= idle_us // SHRINK_IDLE_SHARE


def _last_us(demand: Demand | None, replicas: tuple[Replica, ...]) -> int:
    used = demand.last_us if demand else 0
    return max([used, *(replica.ready_us or replica.launched_us for replica in replicas)])
