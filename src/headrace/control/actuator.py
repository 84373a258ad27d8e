"""Carries out plans: launches replicas, drains and stops them; every deed with its reason in the journal.

A stop has two phases: the table says `draining` and gateways send nothing more; when none has work there, or the time
is up, the process is ended.
"""

import socket
from collections.abc import Mapping
from typing import Final

from headrace import telemetry
from headrace.control import observer
from headrace.control.leases import Leases
from headrace.control.publisher import Publisher
from headrace.errors import Transient
from headrace.policy.actions import Start, Stop
from headrace.ports import Artifact, Clock, Engine, Store, Substrate, WorkerSpec
from headrace.settings import Settings
from headrace.specs.catalog import ModelSpec
from headrace.state.decision import Decision

KILL_GRACE_US: Final = 10_000_000
_FAST_CRASHES_MAX: Final = 3


class Actuator:
    """The hands of the slow brain."""

    def __init__(
        self, settings: Settings, store: Store, substrate: Substrate, engines: Mapping[str, Engine], clock: Clock
    ) -> None:
        self._settings = settings
        self._store = store
        self._substrate = substrate
        self._engines = engines
        self._clock = clock
        self.leases = Leases(store, clock)
        self.draining: dict[str, tuple[int, int]] = {}  # replica: deadline, and the table that told of it
        self._stopping: set[str] = set()

    async def start(self, start: Start, model: ModelSpec, artifact: Artifact) -> None:
        """Launch one replica."""
        address = f"unix:{self._settings.run / f'engine-{start.replica}.sock'}"
        port = _free_port() if model.engine.kind == "vllm" else 0
        command = self._engines[model.engine.kind].command(model, artifact, address, port)
        self._stopping.discard(start.replica)
        self.leases.because(start.replica, start.reason)
        self.decide("replica.start", start.replica, start.reason, model=model.key, device=start.device)
        await self._substrate.launch(
            WorkerSpec(
                id=start.replica,
                argv=command.argv,
                env=command.env,
                address=command.address,
                ready_path=command.ready_path,
                start_timeout_us=model.scaling.start_timeout_us,
                fast_crashes_max=_FAST_CRASHES_MAX,
                memory_bytes=model.memory_bytes,
                labels=observer.labels(model, start.pool, start.node, start.device),
            )
        )

    def stop(self, stop: Stop, revision: int) -> bool:
        """Begin to drain; True when this is new. `revision` is of the table before the one that will tell of it."""
        if stop.replica in self.draining or stop.replica in self._stopping:
            return False
        self.decide("replica.stop", stop.replica, stop.reason)
        self.draining[stop.replica] = (self._clock.monotonic_us() + stop.drain_us, revision + 1)
        return True

    async def finish_drains(self, publisher: Publisher) -> None:
        """End those that have no work left, or no time."""
        now_us = self._clock.monotonic_us()
        for replica, (deadline_us, revision) in list(self.draining.items()):
            if now_us >= deadline_us or not publisher.at_work(replica, revision):
                self._stopping.add(replica)
                del self.draining[replica]
                await self._substrate.stop(replica, KILL_GRACE_US)

    @property
    def going(self) -> set[str]:
        """Replicas that drain or are being ended."""
        return self._stopping | self.draining.keys()

    def gone(self, replica: str) -> None:
        """A replica is no more."""
        self._stopping.discard(replica)
        self.draining.pop(replica, None)

    def decide(self, kind: str, subject: str, reason: str, **detail: str | int) -> None:
        """Write down what was done and why; a full disk must not stop the doing."""
        telemetry.logger().info(kind, subject=subject, reason=reason, **detail)
        try:
            self._store.decide(
                Decision(at_us=self._clock.now_us(), kind=kind, subject=subject, reason=reason, detail=dict(detail))
            )
        except Transient as error:
            telemetry.logger().error("decision.not_kept", reason=error.message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
