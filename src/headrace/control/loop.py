"""The slow loop: observe, plan, act, publish, and again on every change.

Level-based: each round looks at the whole state and forgets the last one, so nothing depends on an event having been
heard. It decides nothing: what to do is `policy.plan`'s, how to do it the actuator's.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from headrace.control import observer, tables
from headrace.control.actuator import Actuator
from headrace.control.budgets import Budgets
from headrace.control.divisions import Divisions
from headrace.control.health import Health
from headrace.control.keys import Keyring
from headrace.control.leases import Leases
from headrace.control.metrics import Metrics
from headrace.control.notices import Notices
from headrace.control.prepare import Preparer
from headrace.control.publisher import Publisher
from headrace.control.records import Records
from headrace.control.terms import Terms
from headrace.control.upstream_keys import UpstreamKeys
from headrace.errors import HeadraceError
from headrace.policy import schedule
from headrace.policy.actions import Hold, Start
from headrace.policy.activity import Activity
from headrace.policy.choice import Choices, Speed
from headrace.policy.keepalive import Keepalive
from headrace.policy.plan import plan
from headrace.policy.planning import Learned
from headrace.policy.sizing import ByWork
from headrace.ports import Clock, Engine, Substrate, WorkerStatus
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Device, Fleet, Lease
from headrace.state.table import Report, RouteModel
from headrace.state.work import WorkRate
from headrace.units import format_bytes

ROUND_S: Final = 0.25
IDLE_ROUND_S: Final = 1.0
RESYNC_US: Final = 5_000_000
EXPECT_US: Final = 1_000_000
START_AGAIN_US: Final = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the loop works with; made by the controller."""

    substrate: Substrate
    engines: "dict[str, Engine]"
    clock: Clock
    records: Records
    leases: Leases
    notices: Notices
    actuator: Actuator
    publisher: Publisher
    keyring: Keyring
    upstream_keys: UpstreamKeys
    metrics: Metrics
    terms: Terms
    budgets: Budgets
    divisions: Divisions
    rate: Callable[[ModelSpec], WorkRate | None]
    speed: Speed
    judge: Callable[[], None]
    taken_back: Callable[[ModelSpec], bool]
    trying: Callable[[], Container[str]]


class Loop:
    """The state of one reconciliation. `prepare` and `health` call `wake` when they know something new."""

    def __init__(self, parts: Parts, catalog: Catalog, prepare: Preparer, health: Health) -> None:
        self._parts = parts
        self._prepare = prepare
        self._health = health
        self._activity = Activity()
        self._sizing = ByWork()
        self.keepalive = Keepalive()
        self.choices = Choices(parts.speed)
        parts.divisions.recall(self.choices, parts.clock.monotonic_us())
        self.catalog = catalog
        self.created_s = parts.clock.now_us() // 1_000_000
        self.fleet = Fleet(devices=(), replicas=(), at_us=0)
        self.holds: tuple[Hold, ...] = ()
        self.machine: list[Device] = []
        self._workers: dict[str, WorkerStatus] = {}
        self._expected: dict[str, int] = {}  # launched, and not heard of yet
        self._unstartable: dict[str, tuple[str, str, int]] = {}  # model key: digest, reason, when
        self._wake_us: dict[str, int] = {}  # starts
        self._rise_us: dict[str, int] = {}  # wakes from sleep
        self._synced_us = 0
        self.changed = asyncio.Event()

    def wake(self) -> None:
        """Something changed: look again now."""
        self.changed.set()

    # --- what comes in ------------------------------------------------------------------------------------------

    def learn(self, leases: Iterable[Lease]) -> None:
        """How long wakes took, from leases newest first."""
        for lease in leases:
            if lease.ready_us and lease.way != "sleep":
                known = self._rise_us if lease.way == "wake" else self._wake_us
                known.setdefault(f"{lease.model}@{lease.version}", lease.ready_us - lease.started_us)

    def heard(self, report: Report) -> None:
        """A gateway's report: act at once when somebody waits for a replica that is not on its way."""
        if report.faults:
            self._health.doubt()
        waiting = any((found.queued or found.expected) and not self._has(found.key) for found in report.demand)
        if waiting or self._parts.actuator.draining:
            self.wake()

    def _has(self, key: str) -> bool:
        return any(r.key == key and r.phase in ("pending", "starting", "waking", "ready") for r in self.fleet.replicas)

    def news(self, status: WorkerStatus) -> None:
        """A worker changed."""
        if not observer.ours(status):
            return
        before = self._workers.get(status.id)
        if before == status:
            return
        self._expected.pop(status.id, None)
        self._parts.leases.heard(status)
        self._parts.actuator.heard(status)
        if status.phase == "stopped":
            self._workers.pop(status.id, None)
            self._parts.actuator.gone(status.id)
        else:
            self._workers[status.id] = status
        if before is None or before.phase != status.phase:
            self._tell(status, adopted=before is None)
        self.wake()

    def _tell(self, status: WorkerStatus, *, adopted: bool) -> None:
        model, decide = status.labels["model"], self._parts.records.decide
        if status.phase == "ready" and adopted:
            decide("replica.adopt", status.id, f"found running, process {status.pid}", incarnation=status.incarnation)
        elif status.phase == "ready":
            took_us, known = status.ready_us - status.started_us, self._rise_us if status.woken else self._wake_us
            known[f"{model}@{status.labels['version']}"] = took_us
            self._parts.metrics.started(model, took_us)
            how = "awake" if status.woken else "ready"
            decide("replica.ready", status.id, f"{how} after {took_us // 1000} ms", took_us=took_us)
        elif status.phase == "asleep" and not adopted:
            decide("replica.asleep", status.id, f"it holds {format_bytes(int(status.labels['kept_bytes']))} now")
        elif status.phase == "failed" or (status.phase == "starting" and status.reason):
            self._parts.metrics.lost(model)
            self._prepare.forget(f"{model}@{status.labels['version']}")
            decide(f"replica.{'failed' if status.phase == 'failed' else 'lost'}", status.id, status.reason)
        elif status.phase == "stopped":
            decide("replica.stopped", status.id, status.reason or "stopped")

    def anew(self, model: ModelSpec) -> None:
        """A version is deployed: what kept it from being prepared or started before counts no more."""
        self._prepare.anew(model)
        self._unstartable.pop(model.key, None)

    # --- the round ----------------------------------------------------------------------------------------------

    async def round(self) -> None:
        """Resynchronise now and then; observe, plan, act, publish; write down."""
        parts = self._parts
        await self._resync()
        self.observe()
        now_us = parts.clock.monotonic_us()
        demand = self._activity.demand(self.catalog, parts.publisher.demand(), now_us)
        self._sizing.boot_us.update(self._wake_us)
        self._sizing.promise(self.catalog.models)
        self._sizing.note(self.choices.parted(demand), now_us, parts.clock.now_us())
        wanted = self._now(demand, now_us)
        learned = Learned(self._sizing.boot_us, self.keepalive.gaps, self.choices.homes, self._rise_us)
        made = plan(wanted, self.fleet, demand, now_us, self._sizing, learned)
        self.holds = made.holds
        for stop in made.stops:
            parts.actuator.stop(stop)
            parts.leases.draining(stop.replica)
        for sleep in made.sleeps:
            parts.actuator.sleep(sleep, self._workers[sleep.replica].incarnation)
        for wake in made.wakes:
            await parts.actuator.wake(wake, self._workers[wake.replica].incarnation)
        asked: list[ModelSpec] = []
        for start in made.starts:
            await self._start(start, asked, now_us)
        self._want_prepared(asked, demand)
        self.observe()
        parts.judge()
        self.publish()
        await parts.actuator.finish_drains(parts.publisher)
        if parts.records.flush():
            parts.leases.alive()

    def _now(self, demand: Mapping[str, Demand], now_us: int) -> Catalog:
        """What is wanted at this moment: where it costs least, by the clock on the wall, and by what idling costs."""
        boots_us, before = self._sizing.boot_us, self.keepalive.woken
        trying = self._parts.trying()
        wanted = self.choices.over(self.catalog, demand, self.fleet, self._sizing, now_us, trying)
        for key, why in self.choices.moves.items():
            self._parts.records.decide("model.move", key, why)
        self._parts.divisions.keep(self.choices)
        wanted = schedule.over(wanted, boots_us, self._parts.clock.now_us())
        wanted = self.keepalive.over(wanted, demand, boots_us, now_us, self._rise_us)
        for key, why in self.keepalive.woken.items():
            if key not in before:
                self._parts.records.decide("model.prewarm", key, why)
        return wanted

    async def _start(self, start: Start, asked: list[ModelSpec], now_us: int) -> None:
        model = self.catalog.model(f"{start.model}@{start.version}")
        assert model is not None, "the plan is made from the catalog"
        digest, _, failed_us = self._unstartable.get(model.key, ("", "", 0))
        if start.replica in self._workers or (digest == model.digest and now_us - failed_us < START_AGAIN_US):
            return
        artifact = self._prepare.artifact(model)
        if artifact is None:
            asked.append(model)
            return
        place = (start.pool, start.node, start.device)
        device = next(d for d in self.fleet.devices if (d.pool, d.node, d.device) == place)
        labels = observer.labels(model, device, start.reason)
        self._workers[start.replica] = WorkerStatus(id=start.replica, phase="pending", labels=labels)
        self._expected[start.replica] = now_us
        try:
            await self._parts.actuator.start(start, model, artifact, device)
            self._unstartable.pop(model.key, None)
        except HeadraceError as error:
            del self._workers[start.replica], self._expected[start.replica]
            self._unstartable[model.key] = (model.digest, error.message, now_us)
            self._parts.records.decide("replica.refused", start.replica, error.message, model=model.key)

    def _want_prepared(self, asked: list[ModelSpec], demand: Mapping[str, Demand]) -> None:
        """First what is to be started, then what has traffic; the rest ahead of it, but for what was rolled back."""
        owned = [model for model in self.catalog.models if model.owned]
        named = {key for key, one in demand.items() if one.arrivals}
        used = [model for model in owned if model.weight or model.shadow or model.key in named]
        self._prepare.want([*asked, *used], [model for model in owned if not self._parts.taken_back(model)])

    async def _resync(self) -> None:
        """Compare with what the substrate keeps, lest a lost word make us believe in a replica that is not."""
        now_us = self._parts.clock.monotonic_us()
        overdue = any(now_us - at_us >= EXPECT_US for at_us in self._expected.values())
        if not overdue and (not self._workers or now_us - self._synced_us < RESYNC_US):
            return
        self._synced_us = now_us
        running = {status.id: status for status in await self._parts.substrate.workers()}
        for name in self._workers.keys() - running.keys():
            gone = msgspec.structs.replace(
                self._workers[name], phase="stopped", reason="its substrate does not know of it"
            )
            self.news(gone)
        for status in running.values():
            self.news(status)

    def observe(self) -> None:
        """Make the fleet of what is known."""
        parts = self._parts
        devices = parts.notices.over(observer.pooled(self.catalog, self.machine))
        foreign = self._health.foreign(self.catalog)
        going, turning = parts.actuator.going, parts.actuator.turning
        self.fleet = observer.fleet(devices, self._workers, going, foreign, parts.clock, turning)

    def publish(self) -> None:
        """Tell gateways, if anything they need has changed."""
        parts = self._parts
        replicas = tables.route_replicas(self.catalog, self.fleet, parts.upstream_keys.of)
        keys = tables.route_keys(parts.keyring.records(), self.catalog, parts.budgets.of)
        prices = parts.terms.in_force()
        parts.publisher.publish(tables.table(self.models(), replicas, keys, prices, self.catalog.tenants))

    # --- what is known ------------------------------------------------------------------------------------------

    def models(self) -> dict[str, RouteModel]:
        """Every model version as gateways see it, by key."""
        found, rates, cuts = {}, self.choices.rates, self.choices.cuts
        for model in self.catalog.models:
            fault = self.fault(model)
            prepared = model.owned and self._prepare.artifact(model) is not None
            preparing = self._prepare.busy_with == model.key
            state = tables.state_of(model, self.fleet, prepared=prepared, preparing=preparing, fault=fault)
            engine = self._parts.engines[model.engine.kind]
            wake_us = self._awake_in_us(model.key)
            found[model.key] = tables.route_model(
                model,
                engine,
                state,
                fault,
                wake_us,
                self.created_s,
                rates.get(model.key) or self._parts.rate(model),
                self._parts.budgets.of_model(model.name),
            )
            if model.key in cuts:
                found[model.key] = msgspec.structs.replace(found[model.key], cut=cuts[model.key])
        return found

    def _awake_in_us(self, key: str) -> int:
        """How long its next replica will probably take: one that sleeps is woken, which is quicker."""
        rests = any(replica.rests for replica in self.fleet.of(key))
        return (self._rise_us.get(key, 0) if rests else 0) or self._wake_us.get(key, 0)

    def fault(self, model: ModelSpec) -> str:
        """Why a model cannot be served at all, empty when it can."""
        if problem := self._parts.terms.problem(model) or self._parts.budgets.used_up(model.name):
            return problem
        if not model.owned:
            if problem := self._parts.upstream_keys.problem(model):
                return f"the key of its server is missing: {problem}"
            return f"its server at {model.engine.url} does not answer" if self._health.answering(model) is False else ""
        if any(r.phase in ("ready", "starting", "pending") or r.rests for r in self.fleet.of(model.key)):
            return ""
        failed = next((r for r in self.fleet.replicas if r.key == model.key and r.phase == "failed"), None)
        if failed is not None:
            return f"its replica failed: {failed.reason}; see: headrace logs {failed.id}"
        digest, reason, _ = self._unstartable.get(model.key, ("", "", 0))
        return f"it cannot be started: {reason}" if digest == model.digest else self._prepare.fault(model)

    def stands(self, key: str) -> tuple[str, ...]:
        """The pools where replicas of a model version are wanted, where those were chosen."""
        return self.choices.stands(key)

    def problems(self) -> list[str]:
        """What an operator should put right and no model's fault tells."""
        return list(self._parts.keyring.problems)

    def wake_us(self, key: str) -> int:
        """How long the last start of a model version took, 0 when none is known."""
        return self._wake_us.get(key, 0)

    def knows(self, replica: str) -> bool:
        """Whether a worker of this name is kept."""
        return replica in self._workers

    # --- for ever -----------------------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Until something changed, or it is time."""
        busy = bool(self._workers) or self._parts.actuator.draining
        try:
            await asyncio.wait_for(self.changed.wait(), ROUND_S if busy else IDLE_ROUND_S)
        except TimeoutError:
            return
        finally:
            self.changed.clear()
