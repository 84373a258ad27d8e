"""The slow brain: which replicas should exist, where, at which version. Called by control, later by the twin.

`plan` is a pure function of what is wanted, what is so and what is asked for. It decides from the state alone, so a
plan lost on its way is simply made again, and a plan carried out is empty when made again (but for its holds). It never
puts more on a device than fits, and leaves alone what Headrace does not own. All moments, those of replicas and of
demand too, are CLOCK_MONOTONIC microseconds.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.policy import placement, room, sleep, worth
from headrace.policy.actions import Hold, Plan, Sleep, Start, Stop, Wake
from headrace.policy.balance import balance
from headrace.policy.planning import FAILED_PAUSE_US, NOTHING, Lack, Learned, Work
from headrace.policy.sizing import BySlots, Sizing
from headrace.specs.catalog import Catalog
from headrace.state.demand import Demand
from headrace.state.fleet import Fleet, Replica

BY_SLOTS: Final = BySlots()
STEPS_MAX: Final = 8  # a chain of models that move for each other is never that long
DRAIN_UNKNOWN_US: Final = 120_000_000  # for replicas whose spec is gone


def plan(
    catalog: Catalog,
    fleet: Fleet,
    demand: Mapping[str, Demand],
    now_us: int,
    sizing: Sizing = BY_SLOTS,
    learned: Learned = NOTHING,
) -> Plan:
    """What to do now: step by step on the fleet as it will be, until a step has nothing to add.

    So a plan that was carried out leaves nothing to do but its holds, also where one stop lets another model move.
    `sizing` says how many replicas each model should have; it was told the demand before. `learned` tells who
    costs least.
    """
    starts: dict[str, Start] = {}
    stops: list[Stop] = []
    sleeps: list[Sleep] = []
    wakes: dict[str, Wake] = {}
    holds: tuple[Hold, ...] = ()
    for _ in range(STEPS_MAX):
        made = _step(Work(catalog, fleet, demand, now_us, learned), sizing)
        holds = made.holds
        if made.quiet:
            break
        undone = {stop.replica for stop in made.stops if starts.pop(stop.replica, None)}
        stops += [stop for stop in made.stops if stop.replica not in undone]
        starts |= {start.replica: start for start in made.starts}
        sleeps += made.sleeps
        wakes |= {wake.replica: wake for wake in made.wakes}
        for stop in made.stops:
            wakes.pop(stop.replica, None)
        fleet = _after(catalog, fleet, made, undone, now_us)
    return Plan(tuple(starts.values()), tuple(stops), holds, tuple(sleeps), tuple(wakes.values()))


def _step(work: Work, sizing: Sizing) -> Plan:
    """What to do with this fleet.

    1. Stop what is in no catalog, and forget what failed long enough ago.
    2. Stop or put to sleep what each model has too many of: idle, surplus, or replaced by a successor that is ready.
    3. Wake or start what is missing, the most urgent first; where it does not fit, make room or say why not.
    """
    _clear(work)  # 1.
    wants: list[Lack] = []
    for model in work.catalog.models:  # 2.
        if model.owned:
            wants.extend(balance(work, model, sizing))
    for want in sorted(wants, key=lambda want: want.order):  # 3.
        _serve(work, want)
    holds = tuple(work.holds.values())
    return Plan(tuple(work.starts), tuple(work.stops), holds, tuple(work.sleeps), tuple(work.wakes))


def _after(catalog: Catalog, fleet: Fleet, made: Plan, undone: set[str], now_us: int) -> Fleet:
    """The fleet once a step has been carried out: what is stopped drains, what is started is pending.

    `undone` were to be started by an earlier step and are not, after all.
    """
    stopped, slept = {stop.replica for stop in made.stops}, {one.replica for one in made.sleeps}
    woken = {one.replica for one in made.wakes}

    def after(replica: Replica) -> Replica:
        if replica.id in stopped:
            return replica.going()
        if replica.id in slept:
            return msgspec.structs.replace(replica, phase="dozing")
        return msgspec.structs.replace(replica, phase="waking") if replica.id in woken else replica

    replicas = [
        after(replica)
        for replica in fleet.replicas
        if replica.id not in undone and not (replica.phase == "failed" and replica.id in stopped)
    ]
    devices = {placement.place_of(device): device for device in fleet.devices} if made.starts else {}
    for start in made.starts:
        model = catalog.model(f"{start.model}@{start.version}")
        assert model is not None, "a step starts what the catalog wants"
        device, rest = devices[start.pool, start.node, start.device], model.engine.sleep
        replicas.append(
            Replica(
                id=start.replica,
                model=start.model,
                version=start.version,
                digest=model.digest,
                pool=start.pool,
                node=start.node,
                device=start.device,
                memory_bytes=device.takes(model.memory_bytes),
                slots=model.engine.slots,
                phase="pending",
                launched_us=now_us,
                kept_bytes=device.takes(rest.kept_bytes) if rest else 0,
                host_bytes=rest.host_bytes if rest else 0,
            )
        )
    return Fleet(devices=fleet.devices, replicas=tuple(replicas), at_us=fleet.at_us)


def _clear(work: Work) -> None:
    for replica in work.fleet.replicas:
        model = work.models.get(replica.key)
        if replica.phase == "failed":
            if model is None or replica.digest != model.digest:
                work.stop(replica, 0, f"failed, and {replica.key} has been changed or removed since")
            elif work.now_us - replica.launched_us >= FAILED_PAUSE_US:
                work.stop(replica, 0, f"failed: {replica.reason or 'no reason given'}; cleared to be tried again")
        elif model is None and (work.works(replica) or replica.phase == "asleep"):
            work.stop(replica, DRAIN_UNKNOWN_US, f"{replica.key} is not in the catalog any more")


def _serve(work: Work, lack: Lack) -> None:
    """Wake or start one replica, or make room for it, or say why not."""
    model = lack.model
    if model.key in work.holds or sleep.serve(work, lack):
        return
    device = work.space.find(model, evenly=lack.evenly)
    if device is None:
        if reason := room.make(work, lack):
            work.hold(model, reason)
            return
        device = work.space.find(model, evenly=lack.evenly)
        assert device is not None, "room was made"
    reason = worth.placed(work, model, device, lack.reason)
    work.space.take(device, model)
    work.start(model, device, reason)
