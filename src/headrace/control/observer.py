"""What is so: the fleet, made of what the substrate tells, what drains, and which foreign servers answer.

Moments of the substrate (wall clock) become moments of the clock that never goes back, which demand is told in.
"""

from collections.abc import Iterable, Mapping

from headrace.ports import Clock, WorkerStatus
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Device, Fleet, Phase, Replica

FOREIGN_NODE = "elsewhere"


def pooled(catalog: Catalog, seen: Iterable[Device]) -> list[Device]:
    """The machine's devices as the catalog's pools: pool `cpu` is the machine itself, others match by name.

    A pool never has more memory than its device, nor more devices than there are.
    """
    found: list[Device] = []
    devices = list(seen)
    for pool in catalog.pools:
        wanted = pool.accelerator.lower()
        matching = [
            device for device in devices if device.pool == wanted or (wanted != "cpu" and wanted in device.pool)
        ]
        found += [
            Device(
                node=device.node,
                device=device.device,
                pool=pool.name,
                memory_bytes=min(pool.memory_bytes, device.memory_bytes),
                cpus=min(pool.cpus, device.cpus) if device.cpus else pool.cpus,
            )
            for device in matching[: pool.count]
        ]
    return found


def fleet(
    devices: Iterable[Device],
    workers: Mapping[str, WorkerStatus],
    draining: Iterable[str],
    foreign: Iterable[Replica],
    clock: Clock,
) -> Fleet:
    """The fleet now."""
    now_us = clock.monotonic_us()
    offset_us = clock.now_us() - now_us
    going = set(draining)
    replicas = [
        replica(status, offset_us, draining=status.id in going)
        for status in workers.values()
        if "model" in status.labels
    ]
    return Fleet(devices=tuple(devices), replicas=(*replicas, *foreign), at_us=now_us)


def replica(status: WorkerStatus, offset_us: int, *, draining: bool) -> Replica:
    """One worker as a replica; its labels say what it is."""
    labels = status.labels
    phase: Phase = "draining" if draining and status.phase in ("pending", "starting", "ready") else status.phase
    return Replica(
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
    )


def labels(model: ModelSpec, pool: str, node: str, device: str) -> dict[str, str]:
    """What a worker carries so that a later controller knows it again."""
    return {
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "pool": pool,
        "node": node,
        "device": device,
        "memory_bytes": str(model.memory_bytes),
        "slots": str(model.engine.slots),
    }


def foreign_replica(model: ModelSpec, *, answering: bool, reason: str, since_us: int) -> Replica:
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
        address=model.engine.url.rstrip("/").removesuffix("/v1"),
        ready_us=since_us if answering else 0,
        reason=reason,
    )
