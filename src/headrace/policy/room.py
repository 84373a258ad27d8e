"""Room for a replica that does not fit: who goes for it, and who moves. Called by `plan` alone.

Someone is stopped only when that makes the one who waits fit; nobody below its minimum, and nobody at work unless it
has a second replica and the one who waits has none. Among the idle those go who cost least: what a wake of each costs,
times the chance that it is asked for within the time after which a wake is the cheaper.
"""

from collections.abc import Mapping
from typing import Final

from headrace.policy import moves, scaling
from headrace.policy.planning import Lack, Work, is_current
from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Device, Replica
from headrace.state.gaps import EDGES_US
from headrace.units import US_PER_S, format_bytes

SAMPLES: Final = 8.0  # gaps before they are believed
UNPRICED_US: Final = 300 * US_PER_S  # the time in question where nobody said what a device costs


def make(work: Work, lack: Lack) -> str:
    """Make room for one replica if that is right; the reason why it waits, empty when it need not.

    1. Enough is being freed already: it waits for that, and it is promised to it.
    2. A replica of its own earlier spec gives way, unless a successor is just starting.
    3. Idle replicas of other models, those whose going costs least; for one that is merely one more, only those that
       have been idle for a minute.
    4. Idle replicas that nothing may stop for good move together, so that what is free lies on one device.
    5. For a model that nobody serves: second replicas of models that work.
    """
    model, space = lack.model, work.space
    need = format_bytes(model.memory_bytes)
    if (device := space.promise(model)) is not None:  # 1.
        return f"waits for {need} on {device.device}, which is being freed"
    idle = moves.idle(work, lack)
    regrets = {replica.id: regret(work, replica) for replica in idle}
    going = _own_old(work, lack) or _others(work, model, idle, regrets)
    if not going and (moved := moves.make(work, lack, idle)):  # 4.
        space.promise(model)
        return moved
    if not going and lack.urgency == 0:  # 5.
        going = _others(work, model, _seconds(work, model))
    if not going:
        return space.why_not(model)
    for replica in going:
        spec = work.models.get(replica.key)
        drain_us = spec.scaling.drain_us if spec else 0
        work.stop(replica, drain_us, f"makes room: {model.key} needs {need} on {replica.device} ({lack.reason})")
    if space.find(model) is not None:  # the free memory was promised to one that can have this instead
        return ""
    space.promise(model)
    return f"waits for {need}, which {', '.join(replica.id for replica in going)} will free"


def _own_old(work: Work, lack: Lack) -> list[Replica]:
    model = lack.model
    mine = work.working(model.key)
    current = [replica for replica in mine if is_current(model, replica)]
    if not lack.old or any(replica.phase != "ready" for replica in current):
        return []
    old = [replica for replica in mine if replica not in current]
    return _cheapest(work, model, sorted(old, key=lambda replica: (scaling.used_us(replica), replica.id)), {})


def _others(
    work: Work, model: ModelSpec, candidates: list[Replica], regrets: Mapping[str, float] | None = None
) -> list[Replica]:
    return _cheapest(work, model, _above_minimum(work, candidates), regrets or {})


def regret(work: Work, replica: Replica) -> float:
    """What putting an idle replica to sleep costs on average, in nano-dollars; nothing where its model has another.

    Formula: W P(g <= t + T | g > t), T = W / c, W = b (c + w); P from the gaps seen, or T / (t + T) while they are few.
    Units: t idle, b a start, g a gap between uses, in microseconds; c nano-dollars a microsecond, w those of a wait.
    Source: greedy dual caching (P. Cao, S. Irani 1997: cost over size) with the chance of use known; without it, a gap
        that has lasted t lasts on by the law of a Pareto tail of exponent 1, and so the one used last goes last.
    """
    spec = work.models.get(replica.key)
    if spec is None or len(work.working(replica.key)) > 1:
        return 0.0
    boot_us = work.boot_us(spec)
    each = work.share_nanousd(spec, replica.pool, US_PER_S) / US_PER_S
    wake = boot_us * (each + spec.scaling.wait_nanousd_per_s / US_PER_S)
    within_us = wake / each if each else UNPRICED_US
    demand = work.demand.get(replica.key)
    idle_us = work.now_us - max(replica.ready_us, demand.last_us if demand else 0)
    chance = within_us / max(1.0, idle_us + within_us)
    gaps = work.learned.gaps.get(replica.key)
    if gaps is not None and gaps.count >= SAMPLES:
        longer = [(edge, part) for edge, part in zip(EDGES_US, gaps.weights, strict=True) if part and edge > idle_us]
        weight = sum(part for _, part in longer)
        if weight >= 1:  # else it is idle longer than it ever was
            chance = sum(part for edge, part in longer if edge <= idle_us + within_us) / weight
    return wake * chance


def _seconds(work: Work, model: ModelSpec) -> list[Replica]:
    """Replicas of other models beyond their first, the oldest first."""
    found = []
    for key in dict.fromkeys(replica.key for replica in work.fleet.replicas if replica.key != model.key):
        mine = work.working(key)
        found.extend(sorted(mine, key=lambda replica: (scaling.used_us(replica), replica.id))[:-1])
    return sorted(found, key=lambda replica: (scaling.used_us(replica), replica.id))


def _above_minimum(work: Work, candidates: list[Replica]) -> list[Replica]:
    """Those that can go without taking a model below its minimum; none of a model that is just being replaced."""
    spare: dict[str, int] = {}
    found = []
    for replica in candidates:
        spec = work.models.get(replica.key)
        if spec is None or not spec.owned:
            continue
        if replica.key not in spare:
            there = work.working(replica.key)
            settled = all(is_current(spec, other) for other in there)
            spare[replica.key] = len(there) - spec.scaling.min_replicas if settled else 0
        if spare[replica.key] > 0:
            spare[replica.key] -= 1
            found.append(replica)
    return found


def _cheapest(work: Work, model: ModelSpec, candidates: list[Replica], regrets: Mapping[str, float]) -> list[Replica]:
    """Those of the candidates that make the model fit on one device and whose going costs least, then the fewest."""
    if regrets:  # stable: of those that cost alike a byte, the ones used least recently
        candidates = sorted(candidates, key=lambda one: regrets.get(one.id, 0.0) / max(1, one.memory_bytes))
    best: tuple[tuple[float, int], list[Replica]] | None = None
    for device in work.space.homes(model):
        going = _enough(work.space.lacking(model, device), device, candidates)
        cost = sum(regrets.get(replica.id, 0.0) for replica in going), len(going)
        if going and (best is None or cost < best[0]):
            best = cost, going
    return [] if best is None else best[1]


def _enough(lacking: int, device: Device, candidates: list[Replica]) -> list[Replica]:
    going: list[Replica] = []
    for replica in candidates:
        if lacking <= 0:
            break
        if (replica.pool, replica.node, replica.device) == (device.pool, device.node, device.device):
            going.append(replica)
            lacking -= replica.memory_bytes
    if lacking > 0:
        return []
    for replica in tuple(going):  # what a larger one freed, a smaller one before it need not
        if lacking + replica.memory_bytes <= 0:
            lacking += replica.memory_bytes
            going.remove(replica)
    return going
