"""Carries out plans: launches replicas, drains and stops them; every deed with its reason in the journal.

A stop has two phases: the table says `draining` and gateways send nothing more; when none has work there, or the time
is up, the process is ended.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from headrace.control import observer
from headrace.control.publisher import Publisher
from headrace.control.records import Records
from headrace.policy import performance
from headrace.policy.actions import Sleep, Start, Stop, Wake
from headrace.ports import Artifact, Clock, Engine, Substrate, WorkerSpec, WorkerStatus
from headrace.settings import Settings
from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Device, Phase

KILL_GRACE_US: Final = 10_000_000
DOZE_US: Final = 5_000_000  # for gateways to send nothing more; who has work after that stays awake
_FAST_CRASHES_MAX: Final = 3
_UTILIZATION: Final = "gpu-memory-utilization"


@dataclass(slots=True)
class _Drain:
    """`told` is the revision of the first table that said so, 0 before there is one."""

    deadline_us: int
    told: int = 0


class Actuator:
    """The hands of the slow brain."""

    def __init__(
        self, settings: Settings, substrate: Substrate, engines: Mapping[str, Engine], records: Records, clock: Clock
    ) -> None:
        self._settings = settings
        self._substrate = substrate
        self._engines = engines
        self._records = records
        self._clock = clock
        self._draining: dict[str, _Drain] = {}
        self._stopping: set[str] = set()
        self._dozing: dict[str, tuple[str, _Drain]] = {}  # and which incarnation
        self._falling: dict[str, str] = {}  # told to sleep, and not heard of since: which incarnation
        self._waking: dict[str, str] = {}

    async def start(self, start: Start, model: ModelSpec, artifact: Artifact, device: Device) -> None:
        """Launch one replica. Raises HeadraceError when engine or substrate refuse."""
        address = f"unix:{self._settings.engine_socket(start.replica)}"
        port = _free_port() if model.engine.kind == "vllm" else 0
        command = self._engines[model.engine.kind].command(held(model, device), artifact, address, port)
        self._stopping.discard(start.replica)
        await self._substrate.launch(
            WorkerSpec(
                id=start.replica,
                argv=command.argv,
                env={**command.env, "CUDA_VISIBLE_DEVICES": device.device if on_gpu(device) else ""},
                address=command.address,
                ready_path=command.ready_path,
                start_timeout_us=model.scaling.start_timeout_us,
                fast_crashes_max=_FAST_CRASHES_MAX,
                memory_bytes=model.memory_bytes,
                labels=observer.labels(model, device, start.reason),
                rest=command.rest,
            )
        )
        self._records.decide("replica.start", start.replica, start.reason, model=model.key, device=start.device)

    def stop(self, stop: Stop) -> None:
        """Begin to drain; nothing new when it drains already."""
        if stop.replica not in self.going:
            self._records.decide("replica.stop", stop.replica, stop.reason)
            self._draining[stop.replica] = _Drain(self._clock.monotonic_us() + stop.drain_us)
            for turning in (self._dozing, self._falling, self._waking):
                turning.pop(stop.replica, None)

    def sleep(self, sleep: Sleep, incarnation: str) -> None:
        """Begin to: gateways are to send nothing more first."""
        if sleep.replica not in self.going and sleep.replica not in self._dozing:
            self._records.decide("replica.sleep", sleep.replica, sleep.reason)
            self._dozing[sleep.replica] = (incarnation, _Drain(self._clock.monotonic_us() + DOZE_US))

    async def wake(self, wake: Wake, incarnation: str) -> None:
        """Have one that sleeps wake, once; one that dozes just stays, one that falls asleep does that first."""
        if self._dozing.pop(wake.replica, None) is not None:
            self._records.decide("replica.stays", wake.replica, f"awake: {wake.reason}")
        elif wake.replica in self._falling:
            return
        elif wake.replica not in self.going and self._waking.get(wake.replica) != incarnation:
            self._records.decide("replica.wake", wake.replica, wake.reason)
            self._waking[wake.replica] = incarnation
            await self._substrate.wake(wake.replica, incarnation)

    async def finish_drains(self, publisher: Publisher) -> None:
        """End those that have no work left, or no time. Called after each table."""
        now_us = self._clock.monotonic_us()
        for replica, drain in list(self._draining.items()):
            drain.told = drain.told or publisher.revision
            if now_us >= drain.deadline_us or not publisher.at_work(replica, drain.told):
                self._stopping.add(replica)
                del self._draining[replica]
                await self._substrate.stop(replica, KILL_GRACE_US)
        for replica, (incarnation, drain) in list(self._dozing.items()):
            drain.told = drain.told or publisher.revision
            if now_us >= drain.deadline_us:
                del self._dozing[replica]
                self._records.decide("replica.stays", replica, "work came before it slept")
            elif not publisher.at_work(replica, drain.told):
                del self._dozing[replica]
                self._falling[replica] = incarnation
                await self._substrate.sleep(replica, incarnation)

    @property
    def draining(self) -> bool:
        """Whether somebody's end is waited for."""
        return bool(self._draining or self._dozing)

    @property
    def turning(self) -> dict[str, Phase]:
        """What replicas are about to be, until their substrate says that they are."""
        dozing: dict[str, Phase] = dict.fromkeys([*self._dozing, *self._falling], "dozing")
        return dozing | dict.fromkeys(self._waking, "waking")

    def heard(self, status: WorkerStatus) -> None:
        """News of a worker: what it was asked to be in another incarnation it is, or will not be."""
        for turning in (self._falling, self._waking):
            if turning.get(status.id, status.incarnation) != status.incarnation:
                del turning[status.id]
        if self._dozing.get(status.id, (status.incarnation,))[0] != status.incarnation:
            del self._dozing[status.id]

    @property
    def going(self) -> set[str]:
        """Replicas that drain or are being ended."""
        return self._stopping | self._draining.keys()

    def gone(self, replica: str) -> None:
        """A replica is no more."""
        self._stopping.discard(replica)
        self._draining.pop(replica, None)
        for turning in (self._dozing, self._falling, self._waking):
            turning.pop(replica, None)


def on_gpu(device: Device) -> bool:
    """Whether a device is one that the driver names: a GPU, or a MIG instance."""
    return device.device.startswith(("GPU-", "MIG-"))


def held(model: ModelSpec, device: Device) -> ModelSpec:
    """The model, told how much of the device it holds: vLLM takes nine tenths of any device unless it is told.

    On a CPU it has no more threads than its pool gives.
    """
    given = performance.threads(model, device.cpus)
    if given < model.engine.threads and not on_gpu(device):
        return msgspec.structs.replace(model, engine=msgspec.structs.replace(model.engine, threads=given))
    said = any(name.replace("_", "-") == _UTILIZATION for name in model.engine.args)
    if model.engine.kind != "vllm" or said or not on_gpu(device) or not device.memory_bytes:
        return model
    parts = 1000 * device.takes(model.memory_bytes) // max(device.memory_bytes, device.whole_bytes)
    engine = msgspec.structs.replace(model.engine, args={**model.engine.args, _UTILIZATION: parts / 1000})
    return msgspec.structs.replace(model, engine=engine)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
