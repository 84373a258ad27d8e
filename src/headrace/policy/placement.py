"""Where a replica goes: the first pool of its model, in order of preference, with a device that has the memory free.

Within a pool the fullest device that still fits is taken, so that large holes stay large. Pure.
"""

from dataclasses import dataclass

from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Device, Fleet
from headrace.units import format_bytes


@dataclass(frozen=True, slots=True)
class Space:
    """Free memory of every device while a plan is being made."""

    free: dict[tuple[str, str], int]
    devices: tuple[Device, ...]

    @classmethod
    def of(cls, fleet: Fleet) -> "Space":
        """What the fleet leaves free."""
        return cls({(d.node, d.device): fleet.free_bytes(d.node, d.device) for d in fleet.devices}, fleet.devices)

    def take(self, device: Device, memory_bytes: int) -> None:
        """Count a replica that will be started there."""
        self.free[device.node, device.device] -= memory_bytes

    def give(self, node: str, device: str, memory_bytes: int) -> None:
        """Count a replica that is being stopped; used only to look ahead."""
        self.free[node, device] = self.free.get((node, device), 0) + memory_bytes

    def find(self, model: ModelSpec) -> Device | None:
        """The device for one more replica of the model, None when it fits nowhere now."""
        for pool in model.pools:
            fitting = [
                device
                for device in self.devices
                if device.pool == pool and self.free[device.node, device.device] >= model.memory_bytes
            ]
            if fitting:
                return min(
                    fitting, key=lambda device: (self.free[device.node, device.device], device.node, device.device)
                )
        return None

    def why_not(self, model: ModelSpec) -> str:
        """In words, with numbers, why the model fits nowhere now."""
        seen = [d for d in self.devices if d.pool in model.pools]
        if not seen:
            return f"no device of this machine belongs to its pools ({', '.join(model.pools)})"
        most = max(self.free[d.node, d.device] for d in seen)
        return (
            f"it needs {format_bytes(model.memory_bytes)} and the most that is free in {', '.join(model.pools)} is "
            f"{format_bytes(max(0, most))}; stop another model, lower its `memory`, or give it a larger pool"
        )
