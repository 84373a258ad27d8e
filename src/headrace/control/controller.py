"""The controller: observe, plan, act, publish, and again on every change.

Level-based: each round looks at the whole state and forgets the last one, so nothing depends on an event having been
heard. It may be killed at any time; its successor finds the replicas running and adopts them.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from headrace import settings as process_settings
from headrace import telemetry
from headrace.control import catalogs, observer, probes, tables
from headrace.control.actuator import Actuator
from headrace.control.bookkeeper import EVERY_S, Bookkeeper, Reader
from headrace.control.metrics import Metrics
from headrace.control.preparer import Preparer
from headrace.control.publisher import Publisher
from headrace.errors import Invalid, Transient
from headrace.policy.actions import Hold
from headrace.policy.plan import plan
from headrace.ports import Artifact, Clock, Engine, Store, Substrate, WorkerStatus
from headrace.settings import Settings
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Device, Fleet, Replica
from headrace.state.table import Report, RouteModel

ROUND_S: Final = 0.25
IDLE_ROUND_S: Final = 1.0


class Controller:
    """One cloud's slow shell. The admin API reads its attributes and calls `apply`, `stop_replica`, `keys_changed`."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        substrate: Substrate,
        engines: Mapping[str, Engine],
        find_artifact: Callable[[ModelSpec], Artifact | None],
        prepare_argv: Sequence[str],
        journal_reader: Reader,
        clock: Clock,
    ) -> None:
        catalog = catalogs.load(store)
        assert catalog is not None, "the home was made before the controller starts"
        self.settings = settings
        self.store = store
        self.substrate = substrate
        self.engines = engines
        self.clock = clock
        self.catalog: Catalog = catalog
        self.started_us = clock.now_us()
        self.metrics = Metrics()
        self.bookkeeper = Bookkeeper(settings.journals, store, journal_reader, self.metrics, clock)
        self.actuator = Actuator(settings, store, substrate, engines, clock)
        self.preparer = Preparer(find_artifact, prepare_argv, self.wake)
        self.publisher = Publisher(settings.link_socket, settings.table_file, clock, self._heard)
        self.fleet = Fleet(devices=(), replicas=(), at_us=0)
        self.holds: tuple[Hold, ...] = ()
        self._machine: list[Device] = []
        self._workers: dict[str, WorkerStatus] = {}
        self._foreign: dict[str, tuple[bool, int]] = {}
        self._wake_us: dict[str, int] = {}
        self._misses = probes.Misses()
        self._changed = asyncio.Event()

    # --- what comes in ------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed: look again now."""
        self._changed.set()

    def _heard(self, report: Report) -> None:
        waiting = any(found.queued and not self._has(found.key) for found in report.demand)
        if waiting or self.actuator.draining:
            self.wake()

    def _has(self, key: str) -> bool:
        return any(r.key == key and r.phase in ("pending", "starting", "ready") for r in self.fleet.replicas)

    def _news(self, status: WorkerStatus) -> None:
        """A worker changed."""
        before = self._workers.get(status.id)
        total = sum(
            device.memory_bytes for device in self.fleet.devices if device.device == status.labels.get("device")
        )
        try:
            self.actuator.leases.heard(status, total)
        except Transient as error:
            telemetry.logger().error("lease.not_kept", reason=error.message)
        if status.phase == "stopped":
            self._workers.pop(status.id, None)
            self.actuator.gone(status.id)
        else:
            self._workers[status.id] = status
        if before is None or before.phase != status.phase:
            self._tell(status)
        self.wake()

    def _tell(self, status: WorkerStatus) -> None:
        model = status.labels.get("model", "")
        if status.phase == "ready":
            took_us = status.ready_us - status.started_us
            self._wake_us[f"{model}@{status.labels.get('version', '')}"] = took_us
            self.metrics.started(model, took_us)
            self.actuator.decide("replica.ready", status.id, f"ready after {took_us // 1000} ms", took_us=took_us)
        elif status.phase == "failed" or (status.phase == "starting" and status.reason):
            self.actuator.decide(
                f"replica.{'failed' if status.phase == 'failed' else 'lost'}", status.id, status.reason
            )
        elif status.phase == "stopped":
            self.actuator.decide("replica.stopped", status.id, status.reason or "stopped")

    # --- the round ----------------------------------------------------------------------------------------------

    async def round(self) -> None:
        """Observe, plan, act, publish."""
        self._observe()
        demand = self.publisher.demand()
        made = plan(self.catalog, self.fleet, demand, self.clock.monotonic_us())
        self.holds = made.holds
        for stop in made.stops:
            self.actuator.stop(stop, self.publisher.revision)
        unprepared = []
        for start in made.starts:
            model = self.catalog.model(f"{start.model}@{start.version}")
            assert model is not None, "the plan is made from the catalog"
            artifact = self.preparer.artifact(model)
            if artifact is None:
                unprepared.append(model)
            elif start.replica not in self._workers:
                self._workers[start.replica] = WorkerStatus(
                    id=start.replica,
                    phase="pending",
                    labels=observer.labels(model, start.pool, start.node, start.device),
                )
                await self.actuator.start(start, model, artifact)
        self.preparer.want([*unprepared, *(model for model in self.catalog.models if model.owned)])
        self._observe()
        self._publish()
        await self.actuator.finish_drains(self.publisher)

    def _observe(self) -> None:
        foreign: list[Replica] = []
        for model in self.catalog.models:
            if not model.owned:
                answering, since_us = self._foreign.get(model.key, (False, 0))
                reason = "" if answering else f"{model.engine.url} does not answer"
                foreign.append(observer.foreign_replica(model, answering=answering, reason=reason, since_us=since_us))
        devices = observer.pooled(self.catalog, self._machine)
        self.fleet = observer.fleet(devices, self._workers, self.actuator.going, foreign, self.clock)

    def models(self) -> dict[str, RouteModel]:
        """Every model version as gateways see it, by key."""
        found = {}
        for model in self.catalog.models:
            fault = self.fault(model)
            state = tables.state_of(
                model,
                self.fleet,
                prepared=self.preparer.artifact(model) is not None,
                preparing=self.preparer.busy_with == model.key,
                fault=fault,
            )
            engine = self.engines[model.engine.kind]
            wake_us = self._wake_us.get(model.key, 0)
            found[model.key] = tables.route_model(model, engine, state, fault, wake_us, self.started_us // 1_000_000)
        return found

    def fault(self, model: ModelSpec) -> str:
        """Why a model cannot be served at all, empty when it can."""
        if not model.owned:
            if self._foreign.get(model.key, (True, 0))[0]:
                return ""
            return f"its server at {model.engine.url} does not answer"
        failed = next((r for r in self.fleet.replicas if r.key == model.key and r.phase == "failed"), None)
        if failed is not None and not any(r.phase in ("ready", "starting") for r in self.fleet.of(model.key)):
            return f"its replica failed: {failed.reason}; see: headrace logs {failed.id}"
        return self.preparer.fault(model)

    def _publish(self) -> None:
        try:
            replicas = tables.route_replicas(self.catalog, self.fleet, process_settings.secret)
        except Invalid as error:
            telemetry.logger().error("secret.missing", reason=error.message)
            replicas = ()
        keys = tables.route_keys(self.store.keys(), self.catalog)
        self.publisher.publish(tables.table(self.models(), replicas, keys))

    # --- what administrators do ---------------------------------------------------------------------------------

    def apply(self, catalog: Catalog) -> None:
        """From now on this is wanted."""
        catalogs.save(self.store, catalog)
        self.actuator.decide(
            "catalog.apply", catalog.revision, f"catalog {self.catalog.revision} -> {catalog.revision}"
        )
        self.catalog = catalog
        self.wake()

    def stop_replica(self, replica: str) -> bool:
        """Drain and stop one replica; False when there is none of that name."""
        from headrace.policy.actions import Stop

        if replica not in self._workers:
            return False
        self.actuator.stop(Stop(replica, 120_000_000, "an administrator asked for it"), self.publisher.revision)
        self.wake()
        return True

    def keys_changed(self) -> None:
        """A key was made or revoked: gateways must know at once."""
        self._publish()

    # --- the loops ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Everything, until cancelled."""
        await self.substrate.start()
        self._machine = await self.substrate.devices()
        self._observe()
        running = await self.substrate.workers()
        self.actuator.leases.adopt(running)
        for status in running:
            self._news(status)
        self._publish()
        await self.publisher.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._rounds())
            group.create_task(self._probe())
            group.create_task(self._keep_books())

    async def _watch(self) -> None:
        async for status in self.substrate.watch():
            if self._workers.get(status.id) != status:
                self._news(status)
        raise RuntimeError("the substrate tells no more")

    async def _rounds(self) -> None:
        while True:
            self._changed.clear()
            await self.round()
            busy = bool(self._workers) or bool(self.actuator.draining)
            try:
                await asyncio.wait_for(self._changed.wait(), ROUND_S if busy else IDLE_ROUND_S)
            except TimeoutError:
                continue

    async def _probe(self) -> None:
        while True:
            ready = [r for r in self.fleet.replicas if r.phase == "ready" and r.node != observer.FOREIGN_NODE]
            foreign = [model for model in self.catalog.models if not model.owned]
            well = await asyncio.gather(
                *(probes.answers(replica.address) for replica in ready),
                *(probes.answers(model.engine.url.rstrip("/").removesuffix("/v1"), "/v1/models") for model in foreign),
            )
            for replica, answered in zip(ready, well, strict=False):
                if self._misses.heard(replica.id, replica.incarnation, answered):
                    reason = f"it did not answer {probes.MISSES_MAX} health checks in a row"
                    await self.substrate.kill(replica.id, replica.incarnation, reason)
            for model, answered in zip(foreign, well[len(ready) :], strict=True):
                if self._foreign.get(model.key, (None, 0))[0] != answered:
                    self._foreign[model.key] = (answered, self.clock.monotonic_us())
                    self.wake()
            await asyncio.sleep(probes.EVERY_S)

    async def _keep_books(self) -> None:
        while True:
            self.bookkeeper.try_to_catch_up()
            await asyncio.sleep(EVERY_S)


async def run(settings: Settings, *, serve_admin: Callable[[Controller], Any], **parts: Any) -> None:
    """Run a controller and its admin API until SIGTERM; the replicas run on."""
    controller = Controller(settings, **parts)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    work = loop.create_task(controller.run())
    admin = loop.create_task(serve_admin(controller))
    stopped = loop.create_task(stop.wait())
    await asyncio.wait([work, admin, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in (admin, work):
        if task.done() and task.exception() is not None:
            telemetry.logger().error("controller.failed", error=repr(task.exception()))
        task.cancel()
    await asyncio.wait([work, admin])
    await controller.preparer.close()
    await controller.publisher.close()
    controller.bookkeeper.try_to_catch_up()
    await controller.substrate.close()
