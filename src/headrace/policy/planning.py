"""One planning: what is given, what is still free, and the actions so far. Shared by the steps of `plan`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headrace.policy.actions import Hold, Sleep, Start, Stop, Wake
from headrace.policy.home import Home
from headrace.policy.placement import Space, place_of
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Device, Fleet, Replica
from headrace.state.gaps import Gaps
from headrace.units import US_PER_HOUR, US_PER_MINUTE, US_PER_S

FAILED_PAUSE_US: Final = US_PER_MINUTE  # after a failed start, unless the model is changed
BOOT_US: Final = 30 * US_PER_S  # until one was measured
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9.-]+")
_WORKING: Final = frozenset(
    {"pending", "starting", "waking", "ready", "lost"}
)  # lost: its substrate brings it back or fails it


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


@dataclass(frozen=True, slots=True)
class Learned:
    """What experience says beside the state, by `name@version`: how long starts take, wakes from sleep, and the gaps
    between uses.

    It tells who costs least among those who may go, never whether anybody goes. `homes` are the pools that were chosen
    for models that have a choice.
    """

    boot_us: Mapping[str, int] = field(default_factory=dict)
    gaps: Mapping[str, Gaps] = field(default_factory=dict)
    homes: Mapping[str, Home] = field(default_factory=dict)
    wake_us: Mapping[str, int] = field(default_factory=dict)


NOTHING: Final = Learned()


class Work:
    """What is given, what is still free, and the actions so far."""

    __slots__ = (
        "_asleep", "_by_key", "catalog", "demand", "doomed", "failed", "fleet", "holds", "learned", "models", "names",
        "now_us", "pools", "sleeps", "space", "starts", "stopped", "stops", "turned", "wakes",
    )  # fmt: skip

    def __init__(
        self, catalog: Catalog, fleet: Fleet, demand: Mapping[str, Demand], now_us: int, learned: Learned = NOTHING
    ) -> None:
        self.learned = learned
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
        self.sleeps: list[Sleep] = []
        self.wakes: list[Wake] = []
        self.stopped: set[str] = set()
        self.turned: set[str] = set()  # to sleep, or awake
        self.doomed = {place_of(device): device.doomed_us for device in fleet.devices if device.doomed_us}
        self.names = {replica.id for replica in fleet.replicas}
        self._by_key: dict[str, list[Replica]] = {}
        self._asleep: dict[str, list[Replica]] = {}
        for replica in fleet.replicas:
            if replica.phase in _WORKING:
                self._by_key.setdefault(replica.key, []).append(replica)
            elif replica.phase in ("asleep", "dozing"):
                self._asleep.setdefault(replica.key, []).append(replica)

    def works(self, replica: Replica) -> bool:
        """Whether a replica is there or coming, and not being stopped."""
        return replica.phase in _WORKING and replica.id not in self.stopped and replica.id not in self.turned

    def working(self, key: str) -> list[Replica]:
        """The replicas of one model version that work."""
        return [replica for replica in self._by_key.get(key, ()) if self.works(replica)]

    def sleepers(self, key: str) -> list[Replica]:
        """The replicas of one model version that sleep, and will after this plan, too."""
        gone = self.stopped | self.turned
        return [one for one in self._asleep.get(key, ()) if one.phase == "asleep" and one.id not in gone]

    def dozing(self, key: str) -> list[Replica]:
        """The replicas of one model version that are about to sleep."""
        return [one for one in self._asleep.get(key, ()) if one.phase == "dozing" and one.id not in self.turned]

    def left_us(self, replica: Replica) -> int | None:
        """For how long its device stays; None where nobody said that it goes."""
        doomed_us = self.doomed.get(place_of(replica))
        return None if doomed_us is None else max(0, doomed_us - self.now_us)

    def fickle(self, replica: Replica) -> bool:
        """Whether it stands, or stood, on a device that may be taken away."""
        pool = self.pools.get(replica.pool)
        return pool is not None and pool.interruptible

    def boot_us(self, model: ModelSpec) -> int:
        """How long a start takes."""
        return self.learned.boot_us.get(model.key, BOOT_US)

    def wake_us(self, model: ModelSpec) -> int:
        """How long a wake from sleep takes."""
        return min(self.learned.wake_us.get(model.key, model.scaling.wake_us), self.boot_us(model))

    def share_nanousd(self, held_bytes: int, pool: str, time_us: int) -> int:
        """What so much memory of a device of that pool costs for that time; 0 where nobody said."""
        found = self.pools.get(pool)
        if found is None or not found.price_nanousd_per_hour or not found.memory_bytes:
            return 0
        whole = found.price_nanousd_per_hour * time_us // US_PER_HOUR
        return min(whole, whole * held_bytes // found.memory_bytes)

    def start(self, model: ModelSpec, device: Device, reason: str) -> None:
        """Start a replica on a device whose memory was taken for it."""
        name = replica_id(model, self.names)
        self.names.add(name)
        self.starts.append(Start(name, model.name, model.version, device.pool, device.node, device.device, reason))

    def stop(self, replica: Replica, drain_us: int, reason: str) -> None:
        """Stop a replica, once."""
        if replica.id in self.stopped or replica.id in self.turned:
            return
        if replica.phase == "asleep":
            self.space.release(replica)
        elif replica.phase in _WORKING:
            self.space.release(replica)
            self.space.count(replica.key, (replica.pool, replica.node, replica.device), -1)
        self.stopped.add(replica.id)
        self.stops.append(Stop(replica.id, drain_us, reason))

    def sleep(self, replica: Replica, reason: str) -> None:
        """Have a replica sleep."""
        self.space.doze(replica)
        self.space.count(replica.key, place_of(replica), -1)
        self.turned.add(replica.id)
        self.sleeps.append(Sleep(replica.id, reason))

    def stir(self, replica: Replica, reason: str) -> bool:
        """Have one that dozes stay awake, unless what it would free is promised to others; whether it does."""
        if not self.space.wakes(replica, soon=True):
            return False
        self.space.wake(replica, soon=True)
        self.space.count(replica.key, place_of(replica), 1)
        self.turned.add(replica.id)
        self.wakes.append(Wake(replica.id, reason))
        return True

    def wake(self, replica: Replica, reason: str) -> None:
        """Wake a replica whose memory is there."""
        self.space.wake(replica)
        self.turned.add(replica.id)
        self.wakes.append(Wake(replica.id, reason))

    def hold(self, model: ModelSpec, reason: str) -> None:
        """Say why a model does not get what it needs."""
        self.holds[model.key] = Hold(model.key, reason)


def is_current(model: ModelSpec, replica: Replica) -> bool:
    """Whether a replica runs what the spec says, where it says."""
    return replica.digest == model.digest and replica.pool in model.pools


def may_sleep(model: ModelSpec, replica: Replica) -> bool:
    """Whether a replica can sleep, and the file lets it."""
    return replica.sleeps and (model.scaling.sleep_auto or model.scaling.idle_to_sleep_us is not None)


def within(model: ModelSpec, pools: tuple[str, ...]) -> ModelSpec:
    """The model, to be placed in some of its pools."""
    return msgspec.structs.replace(model, pools=pools)


def replica_id(model: ModelSpec, taken: set[str]) -> str:
    """`name-version-digest-n` with the smallest n that is free, in letters, digits, dots and dashes only."""
    stem = _NOT_IN_A_NAME.sub("-", f"{model.name}-{model.version}".lower()) + f"-{model.digest[:6]}"
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"
