"""Idle replicas that move together, so that what is free lies on one device. Called by `room` alone.

A move is a drained stop and a start elsewhere in the same pool, in one plan; the model that waits gets what is freed.
One that has only just started is left alone, so that nothing moves to and fro.
"""

from headrace.policy import scaling
from headrace.policy.placement import place_of
from headrace.policy.planning import Lack, Work, is_current, within
from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Device, Replica
from headrace.units import format_bytes, format_us

_Move = tuple[Replica, ModelSpec, Device]


def idle(work: Work, lack: Lack) -> list[Replica]:
    """Ready replicas of other models with nothing to do, least recently used first."""
    patience_us = scaling.SETTLE_MAX_US if lack.urgency == 2 else 0
    found = []
    for replica in work.fleet.replicas:
        demand = work.demand.get(replica.key)
        if replica.phase != "ready" or not work.works(replica) or replica.key == lack.model.key:
            continue
        if demand is None or scaling.busy(demand):  # not known to be idle
            continue
        used_us = max(replica.ready_us, demand.last_us)
        if work.now_us - used_us >= patience_us:
            found.append((used_us, replica.id, replica))
    return [replica for _, _, replica in sorted(found, key=lambda item: item[:2])]


def make(work: Work, lack: Lack, idle: list[Replica]) -> str:
    """Move the fewest that make room for one replica; the reason why it waits, empty when no moves would do."""
    model, best = lack.model, None
    settled = [one for one in idle if work.now_us - one.ready_us >= scaling.SETTLE_MAX_US and _may_move(work, one)]
    for device in work.space.homes(model):
        found = _moves(work, model, device, [one for one in settled if place_of(one) == place_of(device)])
        if found and (best is None or _cost(found) < _cost(best[1])):
            best = device, found
    if best is None:
        return ""
    device, found = best
    need = format_bytes(model.memory_bytes)
    for replica, spec, target in found:
        boot_us = work.boot_us(spec)
        cost = work.share_nanousd(spec.memory_bytes, target.pool, boot_us)
        price = f" and costs ${cost / 1e9:.6f} of its device" if cost else ""
        why = (
            f"moves from {replica.device} to {target.device}, so that {model.key} ({need}) fits: its start takes "
            f"{format_us(boot_us)}{price}"
        )
        work.stop(replica, spec.scaling.drain_us, why)
        work.space.take(target, spec)
        work.start(spec, target, why)
    return f"waits for {need} on {device.device}, from which {', '.join(one.id for one, _, _ in found)} moves away"


def _may_move(work: Work, replica: Replica) -> bool:
    """Its model is not just being replaced, and nothing of it is on its way already."""
    spec = work.models.get(replica.key)
    if spec is None or not spec.owned:
        return False
    return all(other.phase == "ready" and is_current(spec, other) for other in work.working(replica.key))


def _moves(work: Work, model: ModelSpec, device: Device, there: list[Replica]) -> list[_Move]:
    """The fewest of those there that have a place elsewhere and free enough, the largest first."""
    space, lacking, found = work.space, work.space.lacking(model, device), list[_Move]()
    for replica in sorted(there, key=lambda one: (-one.memory_bytes, one.id)):
        if lacking <= 0:
            break
        spec = work.models[replica.key]
        target = space.find(within(spec, (replica.pool,)), but=place_of(replica))
        if target is not None:
            space.take(target, spec)  # so that the next one does not count on the same memory
            found.append((replica, spec, target))
            lacking -= replica.memory_bytes
    for _, spec, target in found:
        space.untake(target, spec)
    if lacking > 0:
        return []
    for move in reversed(found[:-1]):  # a smaller one may be enough without it
        if lacking + move[0].memory_bytes <= 0:
            lacking += move[0].memory_bytes
            found.remove(move)
    return found


def _cost(moves: list[_Move]) -> tuple[int, int]:
    return len(moves), sum(replica.memory_bytes for replica, _, _ in moves)
