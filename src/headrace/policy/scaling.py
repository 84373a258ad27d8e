"""How many replicas one model version should have now, and why. Pure; called by `plan` alone.

It decides from the state: what is in flight and held, when it was last asked for, and how old its replicas are. There
is no memory between two calls, so calm comes from two thresholds (grow above 80 % of the slots, shrink below 50 % of
fewer) and from the age of replicas: nothing is stopped as surplus within `settle_us` of a start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.specs.catalog import ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Replica
from headrace.units import US_PER_MINUTE, format_us

GROW_PERCENT: Final = 80  # of the slots; the rest is room for bursts while another replica starts
SHRINK_PERCENT: Final = 50  # of the slots that would be left
SETTLE_MAX_US: Final = US_PER_MINUTE
FOREVER_US: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Want:
    """`count` replicas, and why."""

    count: int
    reason: str


def desired(model: ModelSpec, have: int, replicas: Sequence[Replica], demand: Demand | None, now_us: int) -> Want:
    """Replicas wanted. `have` are there or starting; `replicas` are those whose ages count.

    1. Asked for: what the load needs, never fewer than one, and fewer than now only when that would clearly do.
    2. Not asked for: kept until the idle time is over; extra ones until things have settled; then the minimum.
       Where no gateway has reported (`demand` is None) nothing is known, and what runs is kept: a controller that
       has just started must not end what its predecessor's gateways work on.

    Formula: ceil(load / (slots * 0.8)), within [min, max];
        load = max(in_flight + queued + expected, work_us / window_us)
    Units: requests; slots of one replica; work in slot-microseconds used within the window.
    Source: work signal of the autoscaler comparison: count work and backlog, and replicas that still start.
    Assumes: requests of one model take alike long. `demand.last_us`, the replicas' moments and `now_us` are of one
        clock that never goes back.
    Example: 10 at work, 4 held, 8 slots: ceil(14 / 6.4) = 3.
    """
    scaling, slots = model.scaling, model.engine.slots
    least, most = scaling.min_replicas, scaling.max_replicas
    load_milli = _load_milli(demand)
    quiet_us = now_us - _last_us(demand, replicas, now_us)
    if load_milli:  # 1.
        needed = _count(load_milli, slots, GROW_PERCENT)
        if needed < have:
            enough = min(have, _count(load_milli, slots, SHRINK_PERCENT))
            needed = enough if _age_us(replicas, now_us) >= settle_us(model) else have
        count = max(least, min(most, needed))
        return Want(count, f"{_asked(demand)} on {slots} slots each: {count} wanted (min {least}, max {most})")
    if have <= least:  # 2.
        return Want(least, f"min is {least}")
    if demand is None:
        return Want(max(least, min(most, have)), "kept: no gateway has told yet what is asked for")
    idle_us = scaling.idle_to_zero_us
    if idle_us is not None and quiet_us >= idle_us:
        return Want(least, f"idle for {format_us(quiet_us)}, idle_to_zero is {format_us(idle_us)}")
    if quiet_us >= settle_us(model):
        return Want(max(least, 1), f"idle for {format_us(quiet_us)}: one is enough to keep awake")
    return Want(max(least, min(most, have)), f"idle for {format_us(quiet_us)} only")


def settle_us(model: ModelSpec) -> int:
    """How long a surplus replica is kept: a quarter of the idle time, at most a minute."""
    idle_us = model.scaling.idle_to_zero_us
    return SETTLE_MAX_US if idle_us is None else min(idle_us // 4, SETTLE_MAX_US)


def busy(demand: Demand | None) -> bool:
    """Whether anything is in flight, held or announced."""
    return demand is not None and bool(demand.in_flight or demand.queued or demand.expected)


def _load_milli(demand: Demand | None) -> int:
    if demand is None:
        return 0
    worked = demand.work_us * 1000 // demand.window_us if demand.window_us else 0
    asked = demand.in_flight + demand.queued + demand.expected
    if demand.batch:  # batch work keeps one replica awake, and asks for no more
        return min(1000 * asked, max(1000 * (asked - demand.batch), 1))
    return max(1000 * asked, worked if busy(demand) else 0)


def announced(model: ModelSpec, demand: Demand) -> int:
    """Replicas that announced work wants when it comes beside what is there; 0 where none is announced."""
    if not demand.expected:
        return 0
    return _count(1000 * (demand.in_flight + demand.queued + demand.expected), model.engine.slots, GROW_PERCENT)


def _count(load_milli: int, slots: int, percent: int) -> int:
    return max(1, -(-load_milli // (slots * percent * 10)))


def _asked(demand: Demand | None) -> str:
    assert demand is not None, "there is no load without demand"
    held = f", {demand.queued} held for {format_us(demand.oldest_wait_us)}" if demand.queued else ""
    coming = f", {demand.expected} announced" if demand.expected else ""
    return f"{demand.in_flight} requests at work{held}{coming}"


def used_us(replica: Replica) -> int:
    """Since when a replica may be called idle: its readiness; it is in use while it starts, and useless when lost."""
    if replica.phase in ("pending", "starting", "waking"):
        return FOREVER_US
    return 0 if replica.phase == "lost" else replica.ready_us


def _last_us(demand: Demand | None, replicas: Sequence[Replica], now_us: int) -> int:
    """The last sign of use, `now_us` at most."""
    return min(now_us, max([demand.last_us if demand else 0, *map(used_us, replicas)]))


def _age_us(replicas: Sequence[Replica], now_us: int) -> int:
    """Time since the youngest replica became ready; 0 while one starts."""
    return now_us - _last_us(None, replicas, now_us)
