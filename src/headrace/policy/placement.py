"""Where a replica goes: the first pool of its model, in order of preference, with a device that has the memory free.

Within a pool replicas of one model are spread over machines, then over devices, so that one that dies takes as few of
them as possible; else the fullest device that still fits is taken, so that large holes stay large. Pure; called by
`plan` and `fit`. Memory that is being freed is promised to those that wait for it, so that nobody else slips in. A
device that is handed out in parts gives whole parts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import LIVE, Device, Fleet, Replica
from headrace.units import format_bytes

Place = tuple[str, str, str]  # (pool, node, device): pools of one machine each have their own part of its memory


@dataclass(frozen=True, slots=True)
class Space:
    """Memory of every device while a plan is being made.

    `free` is what nobody holds now; `soon` adds what draining and stopped replicas will give back and leaves out what
    is promised. Only what is in both may be taken. `there` counts replicas of each model by pool, by machine and by
    place. `barred` are places where a model's replica has just failed and that are left alone for it. `devices` leaves
    out those that will be taken away. `ram` is what of each machine's RAM is left for weights of those asleep.
    """

    free: dict[Place, int]
    soon: dict[Place, int]
    devices: Mapping[str, tuple[Device, ...]]
    there: dict[tuple[str, Place | str | tuple[str]], int] = field(default_factory=dict)
    barred: frozenset[tuple[str, Place]] = frozenset()
    ram: dict[Place, int] = field(default_factory=dict)

    @classmethod
    def of(cls, fleet: Fleet, barred: Iterable[Replica] = ()) -> "Space":
        """What the fleet leaves free."""
        free: dict[Place, int] = {}
        ram: dict[Place, int] = {}
        devices: dict[str, list[Device]] = {}
        for device in fleet.devices:
            free[place_of(device)] = device.memory_bytes
            ram[place_of(device)] = device.host_bytes
            if not device.doomed_us:
                devices.setdefault(device.pool, []).append(device)
        for replica in fleet.replicas:
            place = _home(free, replica)
            if place is not None and replica.phase in LIVE:
                free[place] -= replica.held_bytes
                ram[place] -= replica.host_bytes if replica.rests else 0
        space = cls(
            free,
            dict(free),
            {pool: tuple(found) for pool, found in devices.items()},
            barred=frozenset((replica.key, place_of(replica)) for replica in barred),
            ram=ram,
        )
        for replica in fleet.replicas:
            if replica.phase == "draining":
                space.release(replica)
            elif replica.phase == "dozing":
                space.doze(replica)
            elif replica.phase in LIVE and replica.phase != "asleep":
                space.count(replica.key, place_of(replica), 1)
        return space

    def count(self, key: str, place: Place, change: int) -> None:
        """A replica of a model comes to a place, or leaves it."""
        pool, node, _ = place
        for where in ((key, (pool,)), (key, node), (key, place)):
            self.there[where] = self.there.get(where, 0) + change

    def find(self, model: ModelSpec, *, evenly: bool = False, but: Place | None = None) -> Device | None:
        """The device for one more replica of the model, None when it fits nowhere now.

        `evenly` spreads over the pools instead of filling them in order; `but` is left out.
        """
        return self._best(model, (self.free, self.soon), evenly=evenly, but=but)

    def room(self, model: ModelSpec) -> int:
        """How many more replicas of the model fit now on all its pools together."""
        found = 0
        for pool in model.pools:
            for device in self.devices.get(pool, ()):
                place = place_of(device)
                left = min(self.free[place], self.soon[place])
                if left > 0 and (model.key, place) not in self.barred:
                    found += left // device.takes(model.memory_bytes)
        return found

    def take(self, device: Device, model: ModelSpec) -> None:
        """Count a replica that will be started there."""
        self._held(device, model, 1)

    def untake(self, device: Device, model: ModelSpec) -> None:
        """It will not be, after all."""
        self._held(device, model, -1)

    def _held(self, device: Device, model: ModelSpec, change: int) -> None:
        place, taken = place_of(device), change * device.takes(model.memory_bytes)
        self.free[place] -= taken
        self.soon[place] -= taken
        self.count(model.key, place, change)

    def release(self, replica: Replica) -> None:
        """Count a replica that is being stopped."""
        place = _home(self.soon, replica)
        if place is not None:
            self.soon[place] += replica.held_bytes

    def doze(self, replica: Replica) -> None:
        """Count a replica that falls asleep; its RAM is taken while it does."""
        place = _home(self.soon, replica)
        if place is not None:
            self.soon[place] += replica.memory_bytes - replica.kept_bytes
            self.ram[place] -= 0 if replica.rests else replica.host_bytes

    def wakes(self, replica: Replica, *, soon: bool = False) -> bool:
        """Whether what a replica that sleeps lacks is free on its device; or `soon` will be."""
        place = _home(self.soon, replica)
        if place is None:
            return False
        left = self.soon[place] if soon else min(self.free[place], self.soon[place])
        return left >= replica.memory_bytes - replica.kept_bytes

    def wake(self, replica: Replica, *, soon: bool = False) -> None:
        """Take what it lacks; only promise it, when it `soon` will be free."""
        place = _home(self.soon, replica)
        assert place is not None, "it was asked whether it can wake"
        lacking = replica.memory_bytes - replica.kept_bytes
        self.soon[place] -= lacking
        if not soon:
            self.free[place] -= lacking
            self.count(replica.key, place, 1)

    def promise(self, model: ModelSpec) -> Device | None:
        """Keep memory that is being freed for this model; None when too little is."""
        device = self._best(model, (self.soon,))
        if device is not None:
            self.soon[place_of(device)] -= device.takes(model.memory_bytes)
        return device

    def lacking(self, model: ModelSpec, device: Device) -> int:
        """Bytes that are missing on a device even when all that drains is gone; 0 or less when none."""
        return device.takes(model.memory_bytes) - self.soon[place_of(device)]

    def homes(self, model: ModelSpec) -> list[Device]:
        """Devices the model may live on that could hold it when empty, most preferred first."""
        return [
            device
            for pool in model.pools
            for device in self.devices.get(pool, ())
            if device.memory_bytes >= device.takes(model.memory_bytes)
            and (model.key, place_of(device)) not in self.barred
        ]

    def why_not(self, model: ModelSpec) -> str:
        """In words, with numbers, why the model fits nowhere now, and what to do."""
        pools = ", ".join(model.pools)
        seen = [device for pool in model.pools for device in self.devices.get(pool, ())]
        need = format_bytes(model.memory_bytes)
        if not seen and any(place[0] in model.pools for place in self.free):
            return f"every device of its pools ({pools}) will be taken away; give it a pool that stays"
        if not seen:
            return f"no device of this cloud belongs to its pools ({pools}); give it a pool that has one"
        largest = max(device.memory_bytes for device in seen)
        if largest < model.memory_bytes:
            return (
                f"it needs {need} and the largest device of {pools} has {format_bytes(largest)}; choose a smaller "
                f"model or a larger pool"
            )
        most = max(0, *(self.free[place_of(device)] for device in seen))
        return (
            f"it needs {need} and the most that is free on one device of {pools} is {format_bytes(most)} of "
            f"{format_bytes(largest)}; stop another model, lower its memory, or give it a larger pool"
        )

    def _best(
        self, model: ModelSpec, rooms: tuple[dict[Place, int], ...], *, evenly: bool = False, but: Place | None = None
    ) -> Device | None:
        """The best device of the first pool that has one; of all pools when they are filled evenly."""
        key, there, first = model.key, self.there, rooms[0]
        best: tuple[tuple[int, int, int, int, str, str], Device] | None = None
        for pool in model.pools:
            in_pool = there.get((key, (pool,)), 0) if evenly else 0
            for device in self.devices.get(pool, ()):
                place = pool, device.node, device.device
                left = first[place]
                if left < model.memory_bytes:  # most devices are full, and this is asked for each of them
                    continue
                left = min([room[place] for room in rooms])
                if left < device.takes(model.memory_bytes) or place == but or (key, place) in self.barred:
                    continue
                on_node, on_device = there.get((key, device.node), 0), there.get((key, place), 0)
                rank = in_pool, on_node, on_device, left, device.node, device.device
                if best is None or rank < best[0]:
                    best = rank, device
            if best is not None and not evenly:
                break
        return None if best is None else best[1]


def place_of(of: Device | Replica) -> Place:
    """Where it is."""
    return of.pool, of.node, of.device


def _home(room: dict[Place, int], replica: Replica) -> Place | None:
    """Where a replica's memory counts; one of a pool that is gone counts in another pool of its device."""
    place = place_of(replica)
    if place in room:
        return place
    return next((other for other in room if other[1:] == place[1:]), None)
