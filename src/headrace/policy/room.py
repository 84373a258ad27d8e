"""Room for a replica that does not fit: who goes for it, and the books of one planning. Called by `plan` alone.

Someone is stopped only when that makes the one who waits fit; nobody below its minimum, and nobody at work unless it
has a second replica and the one who waits has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from headrace.policy import scaling
from headrace.policy.actions import Hold, Start, Stop
from headrace.policy.placement import Space
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Device, Fleet, Replica
from headrace.units import US_PER_MINUTE, format_bytes

FAILED_PAUSE_US: Final = US_PER_MINUTE  # after a failed start, unless the model is changed
_WORKING: Final = frozenset({"pending", "starting", "ready", "lost"})  # lost: its substrate brings it back or fails it


@dataclass(frozen=True, slots=True)
class Lack:
    """One replica that is missing. `urgency` 0: nobody serves the model; 1: below its minimum; 2: one more.

    `old` says that replicas of an earlier spec serve it meanwhile; `evenly` that it is spread over its pools.
    """

    model: ModelSpec
    reason: str
    urgency: int
    waited_us: int
    old: bool
    evenly: bool = False

    @property
    def order(self) -> tuple[int, int, str]:
        """Most urgent first, then who waits longest."""
        return self.urgency, -self.waited_us, self.model.key


class Work:
    """One planning: what is given, what is still free, and the actions so far."""

    __slots__ = (
        "_by_key", "catalog", "demand", "failed", "fleet", "holds", "models", "names", "now_us", "pools", "space",
        "starts", "stopped", "stops",
    )  # fmt: skip

    def __init__(self, catalog: Catalog, fleet: Fleet, demand: Mapping[str, Demand], now_us: int) -> None:
        self.catalog = catalog
        self.models = {model.key: model for model in catalog.models}
        self.pools = {pool.name: pool for pool in catalog.pools}
        self.fleet = fleet
        self.demand = demand
        self.now_us = now_us
        self.failed = [replica for replica in fleet.replicas if replica.phase == "failed"]
        self.space = Space.of(fleet, [replica for replica in self.failed if self.fickle(replica)])
        self.starts: list[Start] = []
        self.stops: list[Stop] = []
        self.holds: dict[str, Hold] = {}
        self.stopped: set[str] = set()
        self.names = {replica.id for replica in fleet.replicas}
        self._by_key: dict[str, list[Replica]] = {}
        for replica in fleet.replicas:
            if replica.phase in _WORKING:
                self._by_key.setdefault(replica.key, []).append(replica)

    def works(self, replica: Replica) -> bool:
        """Whether a replica is there or coming, and not being stopped."""
        return replica.phase in _WORKING and replica.id not in self.stopped

    def working(self, key: str) -> list[Replica]:
        """The replicas of one model version that work."""
        return [replica for replica in self._by_key.get(key, ()) if replica.id not in self.stopped]

    def fickle(self, replica: Replica) -> bool:
        """Whether it stands, or stood, on a device that may be taken away."""
        pool = self.pools.get(replica.pool)
        return pool is not None and pool.interruptible

    def stop(self, replica: Replica, drain_us: int, reason: str) -> None:
        """Stop a replica, once."""
        if replica.id in self.stopped:
            return
        if replica.phase in _WORKING:
            self.space.release(replica)
            self.space.count(replica.key, (replica.pool, replica.node, replica.device), -1)
        self.stopped.add(replica.id)
        self.stops.append(Stop(replica.id, drain_us, reason))

    def hold(self, model: ModelSpec, reason: str) -> None:
        """Say why a model does not get what it needs."""
        self.holds[model.key] = Hold(model.key, reason)


def is_current(model: ModelSpec, replica: Replica) -> bool:
    """Whether a replica runs what the spec says, where it says."""
    return replica.digest == model.digest and replica.pool in model.pools


def within(model: ModelSpec, pools: tuple[str, ...]) -> ModelSpec:
    """The model, to be placed in some of its pools."""
    return msgspec.structs.replace(model, pools=pools)


def make(work: Work, lack: Lack) -> str:
    """Make room for one replica if that is right; the reason why it waits, empty when it need not.

    1. Enough is being freed already: it waits for that, and it is promised to it.
    2. A replica of its own earlier spec gives way, unless a successor is just starting.
    3. Idle replicas of other models, least recently used first; for one that is merely one more, only those that
       have been idle for a minute.
    4. For a model that nobody serves: second replicas of models that work.
    """
    model, space = lack.model, work.space
    need = format_bytes(model.memory_bytes)
    if (device := space.promise(model)) is not None:  # 1.
        return f"waits for {need} on {device.device}, which is being freed"
    going = _own_old(work, lack) or _others(work, model, _idle(work, lack))
    if not going and lack.urgency == 0:  # 4.
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
    return _fewest(work, model, sorted(old, key=lambda replica: (scaling.used_us(replica), replica.id)))


def _others(work: Work, model: ModelSpec, candidates: list[Replica]) -> list[Replica]:
    return _fewest(work, model, _above_minimum(work, candidates))


def _idle(work: Work, lack: Lack) -> list[Replica]:
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


def _fewest(work: Work, model: ModelSpec, candidates: list[Replica]) -> list[Replica]:
    """The fewest of the candidates, in their order, that make the model fit on one device; empty when none do."""
    best: list[Replica] = []
    for device in work.space.homes(model):
        going = _enough(work.space.lacking(model, device), device, candidates)
        if going and (not best or len(going) < len(best)):
            best = going
    return best


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
