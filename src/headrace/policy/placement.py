"""Where a replica goes: the first pool of its model, in order of preference, with a device that has the memory free.

Within a pool replicas of one model are spread over machines, then over devices, so that one that dies takes as few of
them as possible; else the fullest device that still fits is taken, so that large holes stay large. Pure; called by
`plan` and `fit`. Memory that is being freed is promised to those that wait for it, so that nobody else slips in.
"""

from dataclasses import dataclass

from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import LIVE, Device, Fleet, Replica
from headrace.units import format_bytes

Spot = tuple[str, str, str]  # (pool, node, device): pools of one machine each have their own part of its memory


@dataclass(frozen=True, slots=True)
class Space:
    """Memory of every device while a plan is being made.

    `free` is what nobody holds now; `soon` adds what draining and stopped replicas will give back and leaves out what
    is promised. Only what is in both may be taken. `there` counts replicas of each model by machine and by spot.
    """

    free: dict[Spot, int]
    soon: dict[Spot, int]
    devices: tuple[Device, ...]
    there: dict[tuple[str, str | Spot], int]

    @classmethod
    def of(cls, fleet: Fleet) -> "Space":
        """What the fleet leaves free."""
        free: dict[Spot, int] = {}
        for device in fleet.devices:
            free[_spot(device)] = device.memory_bytes
        for replica in fleet.replicas:
            spot = _home(free, replica)
            if spot is not None and replica.phase in LIVE:
                free[spot] -= replica.memory_bytes
        space = cls(free, dict(free), fleet.devices, {})
        for replica in fleet.replicas:
            if replica.phase == "draining":
                space.release(replica)
            elif replica.phase in LIVE:
                space.count(replica.key, (replica.pool, replica.node, replica.device), 1)
        return space

    def count(self, key: str, spot: Spot, change: int) -> None:
        """A replica of a model comes to a spot, or leaves it."""
        for place in ((key, spot[1]), (key, spot)):
            self.there[place] = self.there.get(place, 0) + change

    def find(self, model: ModelSpec) -> Device | None:
        """The device for one more replica of the model, None when it fits nowhere now."""
        return self._best(model, {spot: min(free, self.soon[spot]) for spot, free in self.free.items()})

    def take(self, device: Device, model: ModelSpec) -> None:
        """Count a replica that will be started there."""
        self.free[_spot(device)] -= model.memory_bytes
        self.soon[_spot(device)] -= model.memory_bytes
        self.count(model.key, _spot(device), 1)

    def release(self, replica: Replica) -> None:
        """Count a replica that is being stopped."""
        spot = _home(self.soon, replica)
        if spot is not None:
            self.soon[spot] += replica.memory_bytes

    def promise(self, model: ModelSpec) -> Device | None:
        """Keep memory that is being freed for this model; None when too little is."""
        device = self._best(model, self.soon)
        if device is not None:
            self.soon[_spot(device)] -= model.memory_bytes
        return device

    def lacking(self, model: ModelSpec, device: Device) -> int:
        """Bytes that are missing on a device even when all that drains is gone; 0 or less when none."""
        return model.memory_bytes - self.soon[_spot(device)]

    def homes(self, model: ModelSpec) -> list[Device]:
        """Devices the model may live on that could hold it when empty, most preferred first."""
        return [
            device
            for pool in model.pools
            for device in self.devices
            if device.pool == pool and device.memory_bytes >= model.memory_bytes
        ]

    def why_not(self, model: ModelSpec) -> str:
        """In words, with numbers, why the model fits nowhere now, and what to do."""
        pools = ", ".join(model.pools)
        seen = [device for device in self.devices if device.pool in model.pools]
        need = format_bytes(model.memory_bytes)
        if not seen:
            return f"no device of this cloud belongs to its pools ({pools}); give it a pool that has one"
        largest = max(device.memory_bytes for device in seen)
        if largest < model.memory_bytes:
            return (
                f"it needs {need} and the largest device of {pools} has {format_bytes(largest)}; choose a smaller "
                f"model or a larger pool"
            )
        most = max(0, *(self.free[_spot(device)] for device in seen))
        return (
            f"it needs {need} and the most that is free on one device of {pools} is {format_bytes(most)} of "
            f"{format_bytes(largest)}; stop another model, lower its memory, or give it a larger pool"
        )

    def _best(self, model: ModelSpec, room: dict[Spot, int]) -> Device | None:
        for pool in model.pools:
            fitting = [
                device for device in self.devices if device.pool == pool and room[_spot(device)] >= model.memory_bytes
            ]
            if fitting:
                return min(fitting, key=lambda device: self._rank(model.key, device, room))
        return None

    def _rank(self, key: str, device: Device, room: dict[Spot, int]) -> tuple[int, int, int, str, str]:
        spot, there = _spot(device), self.there
        return there.get((key, device.node), 0), there.get((key, spot), 0), room[spot], device.node, device.device


def _spot(device: Device) -> Spot:
    return device.pool, device.node, device.device


def _home(room: dict[Spot, int], replica: Replica) -> Spot | None:
    """Where a replica's memory counts; one of a pool that is gone counts in another pool of its device."""
    spot = replica.pool, replica.node, replica.device
    if spot in room:
        return spot
    return next((other for other in room if other[1:] == spot[1:]), None)
