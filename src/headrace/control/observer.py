"""What is so: the fleet, made of what the substrate tells, what drains, and which foreign servers answer.

Moments of the substrate (wall clock) become moments of the clock that never goes back, which demand is told in.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from headrace.ports import Clock, WorkerStatus
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Device, Fleet, Phase, Replica

FOREIGN_NODE: Final = "elsewhere"
_TURNS: Final = frozenset({("dozing", "ready"), ("waking", "asleep")})  # what is asked for, and what still is
WHOLE_PPM: Final = 1_000_000
_LABELS: Final = frozenset(
    {"model", "version", "digest", "pool", "node", "device", "memory_bytes", "slots", "share_ppm", "cause"}
)


def pooled(catalog: Catalog, seen: Iterable[Device]) -> list[Device]:
    """The machine's devices as the catalog's pools see them.

    1. A pool of accelerator cpu is the machine itself; several such pools share its memory, first come.
    2. Any other accelerator is looked for, by its words, in the names of the devices: `nvidia-l4` is an NVIDIA L4 and
       no L40. A device belongs to one pool; MIG instances belong to pools of their profile alone.
    A pool never has more memory than its device, nor more devices than there are.
    """
    devices = list(seen)
    left = {(device.node, device.device): device.memory_bytes for device in devices}
    taken: set[tuple[str, str]] = set()
    found = []
    for pool in catalog.pools:
        wanted, number = pool.accelerator.lower(), 0
        for device in devices:
            place = (device.node, device.device)
            if wanted == "cpu" or device.pool == "cpu":
                fits = wanted == device.pool
            else:
                names = _words(device.pool)
                instance = device.pool.endswith(f" mig {pool.mig}") if pool.mig else "mig" not in names
                fits = _words(wanted) <= names and instance and place not in taken
            if not fits or number >= pool.count:
                continue
            number += 1
            if wanted != "cpu":
                taken.add(place)
            memory_bytes = min(pool.memory_bytes, left[place])
            left[place] -= memory_bytes
            cpus = min(pool.cpus, device.cpus) if device.cpus else pool.cpus
            found.append(
                Device(
                    node=device.node,
                    device=device.device,
                    pool=pool.name,
                    memory_bytes=memory_bytes,
                    cpus=cpus,
                    grain_bytes=pool.grain_bytes,
                    whole_bytes=device.memory_bytes,
                    host_bytes=pool.host_bytes,
                )
            )
    return found


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def fleet(
    devices: Iterable[Device],
    workers: Mapping[str, WorkerStatus],
    draining: Iterable[str],
    foreign: Iterable[Replica],
    clock: Clock,
    turning: Mapping[str, Phase] = {},
) -> Fleet:
    """The fleet now. `turning` says what replicas were asked to be and are not yet: dozing, or waking."""
    now_us = clock.monotonic_us()
    offset_us = clock.now_us() - now_us
    going = set(draining)
    replicas = [
        replica(status, offset_us, draining=status.id in going, turning=turning.get(status.id))
        for status in workers.values()
    ]
    return Fleet(devices=tuple(devices), replicas=(*replicas, *foreign), at_us=now_us)


def replica(status: WorkerStatus, offset_us: int, *, draining: bool, turning: Phase | None = None) -> Replica:
    """One worker as a replica; its labels say what it is."""
    labels = status.labels
    phase: Phase = status.phase
    if turning is not None and (turning, phase) in _TURNS:
        phase = turning
    made = Replica(
        id=status.id,
        model=labels["model"],
        version=labels["version"],
        digest=labels["digest"],
        pool=labels["pool"],
        node=labels["node"],
        device=labels["device"],
        memory_bytes=int(labels["memory_bytes"]),
        slots=int(labels["slots"]),
        phase=phase,
        incarnation=status.incarnation,
        address=status.address,
        pid=status.pid,
        launched_us=status.started_us - offset_us if status.started_us else 0,
        ready_us=status.ready_us - offset_us if status.ready_us else 0,
        restarts=status.restarts,
        reason=status.reason,
        kept_bytes=int(labels.get("kept_bytes", "0")),
        host_bytes=int(labels.get("host_bytes", "0")),
    )
    return made.going() if draining and made.phase not in ("failed", "stopped") else made


def ours(status: WorkerStatus) -> bool:
    """Whether a worker is a replica of this cloud, and carries what is needed to know it again."""
    return status.labels.keys() >= _LABELS


def labels(model: ModelSpec, device: Device, cause: str) -> dict[str, str]:
    """What a worker carries so that a later controller knows it again, and why it was started."""
    whole, held = device.memory_bytes, device.takes(model.memory_bytes)
    share_ppm = min(WHOLE_PPM, WHOLE_PPM * held // whole) if whole else WHOLE_PPM
    rest = model.engine.sleep
    kept = device.takes(rest.kept_bytes) if rest else 0
    slept = {
        "kept_bytes": str(kept),
        "kept_ppm": str(min(WHOLE_PPM, WHOLE_PPM * kept // whole) if whole else WHOLE_PPM),
        "host_bytes": str(rest.host_bytes if rest else 0),
    }
    return {
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "pool": device.pool,
        "node": device.node,
        "device": device.device,
        "memory_bytes": str(held),
        "slots": str(model.engine.slots),
        "share_ppm": str(share_ppm),
        "cause": cause,
        **(slept if rest else {}),
    }


def foreign_replica(model: ModelSpec, *, answering: bool, since_us: int) -> Replica:
    """A server that Headrace routes to and does not own."""
    return Replica(
        id=f"{model.name}-{model.version}-server",
        model=model.name,
        version=model.version,
        digest=model.digest,
        pool=model.pools[0] if model.pools else "",
        node=FOREIGN_NODE,
        device="",
        memory_bytes=0,
        slots=model.engine.slots,
        phase="ready" if answering else "lost",
        incarnation=model.digest,
        address=foreign_address(model),
        ready_us=since_us if answering else 0,
        reason="" if answering else f"{model.engine.url} does not answer",
    )


def foreign_address(model: ModelSpec) -> str:
    """Where a foreign server is, without the /v1 that every OpenAI path begins with."""
    return model.engine.url.rstrip("/").removesuffix("/v1")
