"""The slow brain: which replicas should exist, where, at which version.

`plan` is a pure function of what is wanted, what is so and what is asked for; it decides from the state alone, so that
a plan lost on its way is simply made again, and a plan carried out is empty when made again. Never more than fits.
All moments are microseconds of the clock that `demand.last_us` was read from.
"""

import re
from collections.abc import Mapping
from typing import Final

from headrace.policy.actions import Hold, Plan, Start, Stop
from headrace.policy.placement import Space
from headrace.policy.scaling import desired
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import LIVE, Fleet, Replica

FAILED_PAUSE_US: Final = 60_000_000
_WORKING: Final = frozenset({"pending", "starting", "ready"})
_NOT_A_NAME: Final = re.compile(r"[^a-z0-9.-]")


class _Planner:
    """One planning: what is still free, and the actions so far."""

    def __init__(self, catalog: Catalog, fleet: Fleet, demand: Mapping[str, Demand], now_us: int) -> None:
        self.catalog = catalog
        self.fleet = fleet
        self.demand = demand
        self.now_us = now_us
        self.space = Space.of(fleet)
        self.starts: list[Start] = []
        self.stops: list[Stop] = []
        self.holds: list[Hold] = []
        self.stopped: set[str] = set()
        self.taken = {replica.id for replica in fleet.replicas if replica.phase in LIVE}

    def stop(self, replica: Replica, drain_us: int, reason: str) -> None:
        if replica.id not in self.stopped:
            self.stopped.add(replica.id)
            self.stops.append(Stop(replica.id, drain_us, reason))


def plan(catalog: Catalog, fleet: Fleet, demand: Mapping[str, Demand], now_us: int) -> Plan:
    """What to do now. 1. what is not wanted; 2. each model to its number; 3. room for those that wait."""
    work = _Planner(catalog, fleet, demand, now_us)
    _stop_unwanted(work)
    starved = [model for model in catalog.models if model.owned and not _size(work, model)]
    for model in starved:
        _make_room(work, model)
    return Plan(tuple(work.starts), tuple(work.stops), tuple(work.holds))


def _stop_unwanted(work: _Planner) -> None:
    for replica in work.fleet.replicas:
        model = work.catalog.model(replica.key)
        if replica.phase == "failed" and work.now_us - replica.launched_us >= FAILED_PAUSE_US:
            work.stop(replica, 0, f"failed: {replica.reason}; cleared so that it may be tried again")
        elif model is None and replica.phase in _WORKING:
            work.stop(replica, 120_000_000, f"{replica.key} is no longer in the catalog")


def _size(work: _Planner, model: ModelSpec) -> bool:
    """Bring one model version to its number; False when a replica it needs does not fit."""
    mine = [r for r in work.fleet.of(model.key) if r.phase in _WORKING]
    current = tuple(r for r in mine if r.digest == model.digest)
    old = [r for r in mine if r.digest != model.digest]
    failed = next((r for r in work.fleet.replicas if r.key == model.key and r.phase == "failed"), None)
    demand = work.demand.get(model.key)
    wanted, reason = desired(model, current or tuple(old), demand, work.now_us)
    if failed is not None and failed.digest == model.digest and failed.id not in work.stopped and wanted > len(current):
        work.holds.append(Hold(model.key, f"its last start failed: {failed.reason}; tried again after 60 s"))
        return True
    for replica in _surplus(current, wanted):
        work.stop(replica, model.scaling.drain_us, reason)
    fits = _grow(work, model, wanted - len(current), reason)
    if old:
        _replace(work, model, old, current, wanted, fits)
    return fits


def _grow(work: _Planner, model: ModelSpec, missing: int, reason: str) -> bool:
    for _ in range(missing):
        device = work.space.find(model)
        if device is None:
            return False
        work.space.take(device, model.memory_bytes)
        name = _name(model, work.taken)
        work.taken.add(name)
        work.starts.append(Start(name, model.name, model.version, device.pool, device.node, device.device, reason))
    return True


def _replace(
    work: _Planner, model: ModelSpec, old: list[Replica], current: tuple[Replica, ...], wanted: int, fits: bool
) -> None:
    """Replicas of a changed spec go once their successors are ready; at once when asleep is right or room is short."""
    ready = sum(replica.phase == "ready" for replica in current)
    for replica in old:
        if not wanted:
            work.stop(replica, model.scaling.drain_us, f"{model.key} was changed, and nobody asks for it")
        elif ready >= min(wanted, len(old)):
            work.stop(replica, model.scaling.drain_us, f"{model.key} was changed; its successor is ready")
        elif not fits:
            work.stop(replica, model.scaling.drain_us, f"{model.key} was changed; its successor needs the room")


def _surplus(current: tuple[Replica, ...], wanted: int) -> list[Replica]:
    """Those to stop: not yet ready ones first, then the youngest."""
    extra = len(current) - wanted
    if extra <= 0:
        return []
    return sorted(current, key=lambda replica: (replica.phase == "ready", -replica.launched_us, replica.id))[:extra]


def _make_room(work: _Planner, model: ModelSpec) -> None:
    """Stop idle replicas of other models, least recently used first, when that lets a waiting model start."""
    demand = work.demand.get(model.key)
    reason = work.space.why_not(model)
    if demand is None or not demand.queued:
        work.holds.append(Hold(model.key, reason))
        return
    ahead = Space(dict(work.space.free), work.space.devices)
    for replica in work.fleet.replicas:
        if replica.id in work.stopped or replica.phase == "draining":
            ahead.give(replica.node, replica.device, replica.memory_bytes)
    going: list[Replica] = []
    for replica in _idle_elsewhere(work, model):
        if ahead.find(model) is not None:
            break
        ahead.give(replica.node, replica.device, replica.memory_bytes)
        going.append(replica)
    if ahead.find(model) is None:
        work.holds.append(Hold(model.key, reason))
        return
    for replica in going:
        work.stop(replica, 0, f"idle, and {model.key} has {demand.queued} requests waiting for its memory")
    work.holds.append(Hold(model.key, f"waits for memory that is being freed: {reason}"))


def _idle_elsewhere(work: _Planner, model: ModelSpec) -> list[Replica]:
    def last_us(replica: Replica) -> int:
        seen = work.demand.get(replica.key)
        return max(seen.last_us if seen else 0, replica.ready_us)

    idle = []
    for replica in work.fleet.replicas:
        spec = work.catalog.model(replica.key)
        seen = work.demand.get(replica.key)
        pinned = spec is not None and spec.scaling.min_replicas >= len(work.fleet.of(replica.key))
        busy = seen is not None and (seen.in_flight or seen.queued)
        if replica.phase == "ready" and replica.key != model.key and not pinned and not busy:
            idle.append(replica)
    return sorted((r for r in idle if r.id not in work.stopped), key=lambda replica: (last_us(replica), replica.id))


def _name(model: ModelSpec, taken: set[str]) -> str:
    stem = _NOT_A_NAME.sub("-", f"{model.name}-{model.version}".lower()) + f"-{model.digest[:6]}"
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"
