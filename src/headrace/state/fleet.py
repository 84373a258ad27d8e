"""The fleet as it is: devices, and the replicas on them. Read by the slow brain, written by the observer."""

from typing import Literal

import msgspec

# dozing: it gets no more work and will be asleep; waking: it will be ready.
Phase = Literal[
    "pending", "starting", "ready", "draining", "lost", "failed", "stopped", "dozing", "asleep", "waking"
]  # fmt: skip
LIVE: frozenset[Phase] = frozenset(
    {"pending", "starting", "ready", "draining", "lost", "dozing", "asleep", "waking"}
)  # fmt: skip


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a pool on a node. Memory in bytes; a CPU pool's device is the machine's share of RAM.

    `grain_bytes`, when not 0, is the part in which its memory is handed out; `whole_bytes` what is built in, where the
    pool was given less of it. `host_bytes` of its machine's RAM are for what sleeps here. `doomed_us` is when it
    will be taken away, as far as was told; 0 for never.
    """

    node: str
    device: str
    pool: str
    memory_bytes: int
    cpus: int
    grain_bytes: int = 0
    whole_bytes: int = 0
    host_bytes: int = 0
    doomed_us: int = 0

    def takes(self, memory_bytes: int) -> int:
        """What a replica that needs so much memory holds of this device.

        >>> Device(node="n", device="d", pool="p", memory_bytes=80, cpus=0, grain_bytes=20).takes(21)
        40
        """
        return -(-memory_bytes // self.grain_bytes) * self.grain_bytes if self.grain_bytes else memory_bytes


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One engine process (or one foreign server), at one incarnation.

    `id` is the controller's name for it and never reused for another `digest`; `incarnation` is new at every engine
    start and every wake. `address` is `unix:/path` or `http://host:port`, empty until it is known. Moments in
    microseconds. Asleep it keeps `kept_bytes` of its device, 0 for one that cannot sleep, and `host_bytes` of RAM.
    """

    id: str
    model: str
    version: str
    digest: str
    pool: str
    node: str
    device: str
    memory_bytes: int
    slots: int
    phase: Phase
    incarnation: str = ""
    address: str = ""
    pid: int = 0
    launched_us: int = 0
    ready_us: int = 0
    restarts: int = 0
    reason: str = ""
    kept_bytes: int = 0
    host_bytes: int = 0

    @property
    def key(self) -> str:
        """`name@version`: what this replica serves."""
        return f"{self.model}@{self.version}"

    @property
    def held_bytes(self) -> int:
        """What it holds of its device now."""
        return self.kept_bytes if self.phase == "asleep" else self.memory_bytes

    def going(self) -> "Replica":
        """As it is while it is stopped: one that slept holds no more meanwhile."""
        return msgspec.structs.replace(self, phase="draining", memory_bytes=self.held_bytes)

    @property
    def sleeps(self) -> bool:
        """Whether it can."""
        return 0 < self.kept_bytes < self.memory_bytes

    @property
    def rests(self) -> bool:
        """Whether weights of it lie in RAM, or soon will."""
        return self.phase in ("dozing", "asleep", "waking")


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All devices and replicas at one moment."""

    devices: tuple[Device, ...]
    replicas: tuple[Replica, ...]
    at_us: int

    def of(self, key: str) -> tuple[Replica, ...]:
        """The replicas of one model version that are not gone."""
        return tuple(replica for replica in self.replicas if replica.key == key and replica.phase in LIVE)

    def free_bytes(self, node: str, device: str) -> int:
        """Memory of a device that no replica holds; may be negative when a device shrank."""
        total = sum(d.memory_bytes for d in self.devices if (d.node, d.device) == (node, device))
        held = sum(r.held_bytes for r in self.replicas if (r.node, r.device) == (node, device) and r.phase in LIVE)
        return total - held


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What one incarnation of a replica took of a device, and when: the raw fact of the cost side.

    A replica that falls asleep and wakes has one for each stretch; `way` is how this one began.
    `share` is in millionths of the device. `ready_us`, `drain_us` and `ended_us` are 0 until they happen.
    """

    replica: str
    incarnation: str
    model: str
    version: str
    pool: str
    node: str
    device: str
    memory_bytes: int
    share_ppm: int
    started_us: int
    ready_us: int = 0
    ended_us: int = 0
    cause: str = ""
    ended_by: str = ""
    drain_us: int = 0
    way: Literal["start", "sleep", "wake"] = "start"

    @property
    def name(self) -> str:
        """`replica/incarnation`: what the books call it."""
        return f"{self.replica}/{self.incarnation}"
