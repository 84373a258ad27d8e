"""Replicas between hot and gone: who falls asleep, who is woken instead of started, and which sleepers are let go.

A sleeper's process lives and holds a little of its device; its weights do not. Idle times say when an idle replica
falls asleep and when a sleeper goes (`keepalive` chooses them by cost); for room, `room` has others sleep. Pure; called
by `balance` and `plan`.
"""

import msgspec

from headrace.policy import room, scaling
from headrace.policy.placement import place_of
from headrace.policy.planning import Lack, Work, is_current, may_sleep
from headrace.policy.scaling import Want
from headrace.policy.sizing import Sizing
from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Replica
from headrace.units import format_bytes, format_us


def awake(model: ModelSpec) -> ModelSpec:
    """The model as one whose idle time is over when it is to fall asleep, not only when it is to go."""
    limits = model.scaling
    if limits.idle_to_sleep_us is None or model.engine.sleep is None:
        return model
    sooner_us = min(limits.idle_to_sleep_us, limits.idle_to_zero_us or limits.idle_to_sleep_us)
    return msgspec.structs.replace(model, scaling=msgspec.structs.replace(limits, idle_to_zero_us=sooner_us))


def wanted(model: ModelSpec, have: int, of: list[Replica], work: Work, sizing: Sizing) -> tuple[Want, bool]:
    """How many are to be awake; and, where that is none, whether they may sleep instead of going."""
    demand, rested = work.demand.get(model.key), awake(model)
    want = sizing.desired(rested, have, of, demand, work.now_us)
    if want.count or rested is model:
        return want, False
    if (gone := sizing.desired(model, have, of, demand, work.now_us)).count == 0:
        return gone, False
    idle_us = work.now_us - max([demand.last_us if demand else 0, *map(scaling.used_us, of)])
    return Want(0, f"idle for {format_us(idle_us)}, longer than it is worth to stay awake"), True


def lull(work: Work, replica: Replica, reason: str) -> bool:
    """Have an idle replica sleep, where it can and there is RAM for what it keeps."""
    spec = work.models.get(replica.key)
    if spec is None or replica.phase != "ready" or not may_sleep(spec, replica) or work.left_us(replica) is not None:
        return False
    if replica.host_bytes > work.space.ram.get(place_of(replica), 0):
        return False
    work.sleep(replica, f"{reason}: asleep it keeps {format_bytes(replica.kept_bytes)}")
    return True


def prune(work: Work, model: ModelSpec, working: int) -> None:
    """Let sleepers go: of an earlier spec, on a device that goes, above the most replicas, or asleep for too long.

    One that others work beside is asked for no more than it is needed: its own time asleep counts.
    """
    limits, demand = model.scaling, work.demand.get(model.key)
    spare = limits.max_replicas - working
    for number, replica in enumerate(sorted(work.sleepers(model.key), key=lambda one: (-one.launched_us, one.id))):
        if not is_current(model, replica):
            work.stop(replica, 0, f"{model.key} was changed, and it sleeps")
        elif work.left_us(replica) is not None:
            work.stop(replica, 0, f"{replica.device} will be taken away, and it sleeps")
        elif number >= spare:
            work.stop(replica, 0, f"asleep, and max is {limits.max_replicas}")
        elif limits.idle_to_zero_us is not None and demand is not None:
            alone = not working and not number and not scaling.busy(demand)
            since_us = max(demand.last_us, replica.ready_us) if alone else replica.launched_us
            if work.now_us - since_us >= limits.idle_to_zero_us and not (number == 0 and scaling.busy(demand)):
                slept, limit = format_us(work.now_us - since_us), format_us(limits.idle_to_zero_us)
                work.stop(replica, 0, f"not used for {slept} and asleep; it is kept for {limit}")


def serve(work: Work, lack: Lack) -> bool:
    """Wake a sleeper for who is missing; whether that is done, or waited for.

    1. One that only dozes. 2. One whose memory is free. 3. One whose memory is being freed. 4. One for whom others make
    room, if that costs less than a start where there is room.
    """
    model = lack.model
    for replica in work.dozing(model.key):
        if is_current(model, replica) and work.left_us(replica) is None and work.stir(replica, lack.reason):  # 1.
            return True
    mine = [replica for replica in work.sleepers(model.key) if is_current(model, replica)]
    mine = [replica for replica in mine if work.left_us(replica) is None]
    for replica in mine:
        if work.space.wakes(replica):  # 2.
            work.wake(replica, lack.reason)
            return True
    for replica in mine:
        if work.space.wakes(replica, soon=True):  # 3.
            work.space.wake(replica, soon=True)
            lacking = format_bytes(replica.memory_bytes - replica.kept_bytes)
            work.hold(model, f"{replica.id} waits for {lacking} on {replica.device}, which is being freed, to wake")
            return True
    return bool(mine) and room.rouse(work, lack, mine)  # 4.
