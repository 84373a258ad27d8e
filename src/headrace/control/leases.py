"""Leases: when each incarnation of a replica took and gave back its share of a device. The raw facts of cost."""

from collections.abc import Iterable

import msgspec

from headrace.ports import Clock, Store, WorkerStatus
from headrace.state.fleet import Lease

WHOLE_PPM = 1_000_000


class Leases:
    """Keeps the leases of what runs, from the substrate's news. Every incarnation has exactly one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open = {lease.replica: lease for lease in store.lease_list(open_only=True)}
        self._causes: dict[str, str] = {}

    def because(self, replica: str, cause: str) -> None:
        """Why a replica is about to be started."""
        self._causes[replica] = cause

    def adopt(self, running: Iterable[WorkerStatus]) -> None:
        """A controller has started: what ended while none ran is closed now, and says so."""
        alive = {status.id: status.incarnation for status in running}
        for lease in list(self._open.values()):
            if alive.get(lease.replica) != lease.incarnation:
                self._close(lease, self._clock.now_us(), "found gone when the controller started")

    def heard(self, status: WorkerStatus, memory_total: int) -> None:
        """News of a worker: open, mark ready, or close its lease."""
        lease = self._open.get(status.id)
        if lease is not None and lease.incarnation != status.incarnation:
            self._close(lease, self._clock.now_us(), status.reason or status.phase)
            lease = None
        if status.phase in ("failed", "stopped"):
            if lease is not None:
                self._close(lease, self._clock.now_us(), status.reason or status.phase)
            return
        if lease is None and status.incarnation and "model" in status.labels:
            lease = self._put(_lease(status, self._causes.pop(status.id, "restarted by its supervisor"), memory_total))
        if lease is not None and status.phase == "ready" and not lease.ready_us:
            self._put(msgspec.structs.replace(lease, ready_us=status.ready_us))

    def _close(self, lease: Lease, now_us: int, why: str) -> None:
        self._open.pop(lease.replica, None)
        self._store.lease_put(msgspec.structs.replace(lease, ended_us=now_us, ended_by=why))

    def _put(self, lease: Lease) -> Lease:
        self._open[lease.replica] = lease
        self._store.lease_put(lease)
        return lease


def _lease(status: WorkerStatus, cause: str, memory_total: int) -> Lease:
    labels = status.labels
    memory_bytes = int(labels["memory_bytes"])
    return Lease(
        replica=status.id,
        incarnation=status.incarnation,
        model=labels["model"],
        version=labels["version"],
        pool=labels["pool"],
        node=labels["node"],
        device=labels["device"],
        memory_bytes=memory_bytes,
        share_ppm=min(WHOLE_PPM, WHOLE_PPM * memory_bytes // memory_total) if memory_total else WHOLE_PPM,
        started_us=status.started_us,
        cause=cause,
    )
