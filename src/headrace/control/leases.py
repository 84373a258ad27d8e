"""Leases: when each incarnation of a replica took and gave back its share of a device. The raw facts of cost.

Made from the substrate's news alone, so that a controller that was away continues them. What ended while nobody looked
is closed at the last moment somebody did: a night with the machine off is not charged.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from headrace import telemetry
from headrace.control.records import Records
from headrace.errors import Transient
from headrace.ports import Clock, Store, WorkerStatus
from headrace.state.fleet import Lease

ALIVE_EVERY_US: Final = 10_000_000
_ALIVE: Final = "alive_us"
_TURNS: Final = {"asleep": "it fell asleep", "waking": "it was woken"}


class Leases:
    """Keeps the leases of what runs. Every incarnation that was heard of has exactly one."""

    def __init__(self, store: Store, records: Records, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self._open = {lease.replica: lease for lease in store.lease_list(open_only=True)}
        self._looked_us = int(store.get(_ALIVE) or 0)

    def adopt(self, running: Iterable[WorkerStatus]) -> None:
        """A controller has started: what ended while none ran is closed now, and says so."""
        alive = {status.id: status.incarnation for status in running}
        for lease in list(self._open.values()):
            if alive.get(lease.replica) != lease.incarnation:
                last_us = max(self._looked_us, lease.started_us, lease.ready_us)
                self._close(lease, min(last_us, self._clock.now_us()), "found gone when the controller started")

    def heard(self, status: WorkerStatus) -> None:
        """News of a worker: open, mark ready, or close its lease."""
        now_us = self._clock.now_us()
        lease = self._open.get(status.id)
        if lease is not None and lease.incarnation != status.incarnation:
            ended_us = min(now_us, status.started_us) if status.incarnation else now_us
            self._close(lease, max(ended_us, lease.started_us), status.reason or _TURNS.get(status.phase, status.phase))
            lease = None
        if status.phase in ("failed", "stopped"):
            if lease is not None:
                self._close(lease, now_us, status.reason or status.phase)
            return
        if lease is None and status.incarnation:
            lease = self._put(_lease(status))
        if lease is not None and status.phase == "ready" and not lease.ready_us:
            self._put(msgspec.structs.replace(lease, ready_us=status.ready_us))

    def draining(self, replica: str) -> None:
        """It was told to go: from here on its idle time is a drain."""
        lease = self._open.get(replica)
        if lease is not None and not lease.drain_us:
            self._put(msgspec.structs.replace(lease, drain_us=self._clock.now_us()))

    def alive(self) -> None:
        """Now and then, while leases are open: somebody looks. A full disk only makes the last look older."""
        now_us = self._clock.now_us()
        if self._open and now_us - self._looked_us >= ALIVE_EVERY_US:
            self._looked_us = now_us
            try:
                self._store.put(_ALIVE, str(now_us).encode())
            except Transient as error:
                telemetry.logger().error("alive.not_kept", reason=error.message)

    def _close(self, lease: Lease, ended_us: int, why: str) -> None:
        self._open.pop(lease.replica, None)
        self._records.lease(msgspec.structs.replace(lease, ended_us=ended_us, ended_by=why))

    def _put(self, lease: Lease) -> Lease:
        self._open[lease.replica] = lease
        self._records.lease(lease)
        return lease


def _lease(status: WorkerStatus) -> Lease:
    labels = status.labels
    asleep = status.phase == "asleep"
    again = f"started again, since its predecessor {status.reason}" if status.reason else "started again"
    return Lease(
        replica=status.id,
        incarnation=status.incarnation,
        model=labels["model"],
        version=labels["version"],
        pool=labels["pool"],
        node=labels["node"],
        device=labels["device"],
        memory_bytes=int(labels["memory_bytes"]),
        share_ppm=int(labels["kept_ppm" if asleep else "share_ppm"]),
        started_us=status.started_us,
        cause=_WHY[status.phase] if status.phase in _WHY else again if status.restarts else labels["cause"],
        way="sleep" if asleep else "wake" if status.woken else "start",
    )


_WHY: Final = {"asleep": "asleep, at what it keeps of its device", "waking": "woken from sleep"}
