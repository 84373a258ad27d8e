"""Ports that pretend, honest by name, for the loop's logic in virtual time; the store is the real one."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from headrace.control.actuator import Actuator
from headrace.control.budgets import Budgets
from headrace.control.divisions import Divisions
from headrace.control.health import Health
from headrace.control.keys import Keyring
from headrace.control.leases import Leases
from headrace.control.loop import Loop, Parts
from headrace.control.market import Market
from headrace.control.metrics import Metrics
from headrace.control.notices import Notices
from headrace.control.prepare import Preparer
from headrace.control.publisher import REPORT_STALE_US, Publisher
from headrace.control.records import Records
from headrace.control.rollouts import Rollouts
from headrace.control.terms import Terms
from headrace.control.upstream_keys import UpstreamKeys
from headrace.errors import Invalid
from headrace.policy import in_force
from headrace.policy.performance import Performance
from headrace.ports import Artifact, Command, WorkerSpec, WorkerStatus
from headrace.settings import Settings
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, PoolSpec, PriceSpec, Scaling, TenantSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Device
from headrace.state.table import Ability, Report, Table
from headrace.state.work import WorkRate
from headrace.stores.sqlite import SqliteStore

S = 1_000_000
GIB = 1 << 30
MACHINE = [Device(node="local", device="cpu", pool="cpu", memory_bytes=8 * GIB, cpus=4)]


def model(name: str = "m", kind: str = "llama_cpp", **changed: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": name,
        "version": "v1",
        "weight": 1,
        "task": "chat",
        "source": "package://x/y.gguf",
        "engine": EngineSpec(kind=kind, url="http://127.0.0.1:9/v1" if kind == "openai" else "", slots=4),
        "memory_bytes": GIB,
        "pools": ("local",),
        "scaling": Scaling(max_replicas=2),
        "price": PriceSpec(kind="fixed", units={"input_tokens": 20_000, "output_tokens": 80_000}),
    }
    return ModelSpec(**(fields | changed))


def catalog(*models: ModelSpec, tenants: tuple[TenantSpec, ...] = (TenantSpec(name="default"),)) -> Catalog:
    pool = PoolSpec(
        name="local", accelerator="cpu", count=1, memory_bytes=4 * GIB, cpus=4, price_nanousd_per_hour=80_000_000
    )
    return Catalog(pools=(pool,), models=tuple(sorted(models, key=lambda m: m.key)), tenants=tenants)


class SimClock:
    """Stands still until told; the wall clock is a million seconds ahead of the other."""

    def __init__(self) -> None:
        self.us = 1_000 * S

    def now_us(self) -> int:
        return self.us + 1_000_000 * S

    def monotonic_us(self) -> int:
        return self.us


class SimEngine:
    """Says what it would start, and starts nothing."""

    def __init__(self, kind: str = "llama_cpp") -> None:
        self.kind = kind
        self.refuses: Exception | None = None

    def ability(self, model: ModelSpec) -> Ability:
        return Ability()

    def problems(self, model: ModelSpec) -> list[str]:
        return [f"{model.source} is not there"] if "missing" in model.source else []

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        raise NotImplementedError("simulated engines prepare nothing")

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:
        if self.refuses is not None:
            raise self.refuses
        return Command(argv=("true",), env={}, address=address)


class SimSubstrate:
    """Workers that are only words; tests say what becomes of them."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.kept: dict[str, WorkerStatus] = {}
        self.specs: dict[str, WorkerSpec] = {}
        self.launched: list[str] = []
        self.stopped: list[str] = []
        self.killed: list[tuple[str, str]] = []
        self.slept: list[tuple[str, str]] = []
        self.woken: list[tuple[str, str]] = []
        self.listeners: list[Callable[[WorkerStatus], None]] = []
        self.loses_launches = False

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def devices(self) -> list[Device]:
        return list(MACHINE)

    async def launch(self, spec: WorkerSpec) -> None:
        self.launched.append(spec.id)
        if not self.loses_launches:
            self.specs[spec.id] = spec
            self.become(spec.id, "starting", incarnation=f"{spec.id}.1", started_us=self.clock.now_us())

    async def stop(self, worker: str, grace_us: int) -> None:
        self.stopped.append(worker)

    async def kill(self, worker: str, incarnation: str, reason: str) -> None:
        self.killed.append((worker, incarnation))

    async def sleep(self, worker: str, incarnation: str) -> None:
        self.slept.append((worker, incarnation))

    async def wake(self, worker: str, incarnation: str) -> None:
        self.woken.append((worker, incarnation))

    async def workers(self) -> list[WorkerStatus]:
        return [status for status in self.kept.values() if status.phase != "stopped"]

    async def watch(self) -> AsyncIterator[WorkerStatus]:
        for status in self.kept.values():
            yield status

    async def logs(self, worker: str, tail: int = 200) -> list[str]:
        return []

    def become(self, name: str, phase: Any, **more: Any) -> None:
        """Something happened to a worker; everybody hears of it."""
        spec = self.specs[name]
        before = self.kept.get(name) or WorkerStatus(id=name, phase="pending", labels=spec.labels, address=spec.address)
        if phase == "ready":
            more.setdefault("ready_us", self.clock.now_us())
        status = self.kept[name] = msgspec.structs.replace(before, phase=phase, **more)
        if phase == "stopped":
            del self.kept[name]
        for listener in self.listeners:
            listener(status)


class SimCloud:
    """One loop with simulated neighbours. A second one over the same substrate and home is a restarted controller."""

    def __init__(
        self, home: Path, wanted: Catalog, clock: SimClock | None = None, substrate: SimSubstrate | None = None
    ) -> None:
        self.settings = Settings(home=home)
        for folder in (self.settings.run, self.settings.journals):
            folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or SimClock()
        self.substrate = substrate or SimSubstrate(self.clock)
        self.store = SqliteStore(self.settings.database)
        self.engines = {kind: SimEngine(kind) for kind in ("llama_cpp", "onnx", "openai", "vllm")}
        self.prepared = {m.key for m in wanted.models}
        self.records = Records(self.store, self.clock)
        self.metrics = Metrics()
        self.metrics.wanted(wanted)
        self.publisher = Publisher(
            self.settings.link_socket, self.settings.table_file, self.clock, lambda report: self.loop.heard(report)
        )
        self.actuator = Actuator(self.settings, self.substrate, self.engines, self.records, self.clock)
        self.leases = Leases(self.store, self.records, self.clock)
        self.notices = Notices(self.store, self.records, self.clock)
        self.preparer = Preparer(self.find, ("false",), self.records.decide, self.clock, lambda: self.loop.wake())
        self.health = Health(self.substrate, self.records, self.clock, lambda: self.loop.wake())
        self.keyring = Keyring(self.store, b"pepper", no_secret)
        self.upstream_keys = UpstreamKeys(no_secret)
        self.terms = Terms(self.store, self.records, Market(("false",)), self.clock)
        self.terms.refresh(wanted)
        self.budgets = Budgets(self.store, self.records, self.clock, self.publisher.tell, self.publisher.linked)
        self.rates: dict[str, WorkRate] = {}
        self.speeds: dict[tuple[str, str], Performance] = {}
        parts = Parts(
            substrate=self.substrate,
            engines=dict(self.engines),
            clock=self.clock,
            records=self.records,
            leases=self.leases,
            notices=self.notices,
            actuator=self.actuator,
            publisher=self.publisher,
            keyring=self.keyring,
            upstream_keys=self.upstream_keys,
            metrics=self.metrics,
            terms=self.terms,
            budgets=self.budgets,
            divisions=Divisions(self.store),
            rate=lambda model: self.rates.get(model.key),
            speed=lambda model, pool: self.speeds.get((model.key, pool.name)),
            judge=self.judge,
            taken_back=lambda model: self.rollouts.took_back(model),
            trying=lambda: self.rollouts.under_way(),
        )
        self.declared, self.rollouts = wanted, Rollouts(self.store, self.records, self.clock)
        self.loop = Loop(parts, wanted, self.preparer, self.health)
        self.loop.machine = list(MACHINE)
        self.substrate.listeners = [self.loop.news]

    def judge(self) -> None:
        """As the controller does at the end of a round."""
        if self.rollouts.turn(self.loop):
            self.rollouts_changed()

    def rollouts_changed(self) -> None:
        self.loop.catalog = in_force.catalog(self.declared, self.rollouts.all)

    def find(self, wanted: ModelSpec) -> Artifact | None:
        if wanted.key not in self.prepared:
            return None
        return Artifact(digest="d", path="/nowhere", files={}, memory_bytes=1)

    async def adopt(self) -> None:
        """As the controller does when it starts."""
        running = await self.substrate.workers()
        self.leases.adopt(running)
        for status in running:
            self.loop.news(status)

    def report(self, *demand: Demand, **more: Any) -> None:
        """A gateway says what it sees, knowing the last table."""
        fields: dict[str, Any] = {"worker": 0, "epoch": "g0", "pid": 1, "revision": self.publisher.revision}
        self.publisher.hear(Report(demand=demand, **(fields | more)))

    async def after(self, us: int) -> None:
        """Time passes, then a round."""
        self.clock.us += us
        await self.loop.round()

    async def awake(self, key: str = "m@v1") -> str:
        """Wake a model with one held request, and let its replica be ready: its name."""
        self.clock.us += REPORT_STALE_US
        self.report(held(key))
        await self.loop.round()
        name = self.substrate.launched[-1]
        self.clock.us += S
        self.substrate.become(name, "ready", pid=77)
        self.report()
        await self.loop.round()
        return name

    @property
    def table(self) -> Table:
        """What gateways were last told."""
        return msgspec.json.decode(self.settings.table_file.read_bytes(), type=Table)


def held(key: str = "m@v1", **changed: Any) -> Demand:
    name, _, version = key.partition("@")
    return Demand(model=name, version=version, window_us=250_000, **({"queued": 1} | changed))


def no_secret(reference: str) -> str:
    raise Invalid(f"{reference} is not set")
