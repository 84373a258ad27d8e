"""The controller: everything wired, the loops run, and what administrators may do.

It may be killed at any time; its successor finds the replicas running and adopts them. Asked to end, it ends itself
and nothing else: replicas and gateways go on.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from headrace import settings as process_settings
from headrace import telemetry
from headrace.control import catalogs, keys
from headrace.control.actuator import Actuator
from headrace.control.adapters import Adapters
from headrace.control.bookkeeper import EVERY_S, IDLE_S, Bookkeeper
from headrace.control.books import Books
from headrace.control.budgets import Budgets
from headrace.control.divisions import Divisions
from headrace.control.forecasts import Forecasts
from headrace.control.habits import Habits
from headrace.control.health import Health
from headrace.control.hindsight import Hindsights
from headrace.control.keys import Keyring
from headrace.control.leases import Leases
from headrace.control.loop import Loop, Parts
from headrace.control.market import Market
from headrace.control.metrics import Metrics
from headrace.control.notices import Notices
from headrace.control.prepare import Preparer
from headrace.control.publisher import Publisher
from headrace.control.rates import Rates
from headrace.control.records import Records
from headrace.control.rollouts import Rollouts
from headrace.control.speeds import Speeds
from headrace.control.terms import Terms, mentioned
from headrace.control.upstream_keys import UpstreamKeys
from headrace.control.witness import Witness
from headrace.errors import Transient, Unreachable
from headrace.policy import in_force
from headrace.policy.actions import Stop
from headrace.policy.performance import Performance
from headrace.settings import Settings
from headrace.specs.catalog import Catalog, ModelSpec, PoolSpec
from headrace.state.table import Purses, Report
from headrace.state.work import WorkRate

STOP_DRAIN_US: Final = 120_000_000
STUMBLE_S: Final = 1.0
BOOK_S: Final = 2.0
BACKUP_S: Final = 60.0
BACKUP_PART: Final = 100  # of the time, at most one part is spent on copying
FORECAST_S: Final = 3600.0
WITNESS_S: Final = 3600.0
HABITS_S: Final = 60.0
HINDSIGHT_S: Final = 3600.0
HINDSIGHT_FIRST_S: Final = 660.0  # before that there is too little to look back on
_LEASES_LEARNED: Final = 200


class Controller:
    """One cloud's slow shell. The admin API reads its attributes and calls `apply`, `stop_replica`, `keys_changed`."""

    def __init__(self, settings: Settings, adapters: Adapters) -> None:
        store, substrate, clock, command = adapters.store, adapters.substrate, adapters.clock, adapters.command
        catalog = catalogs.load(store)
        assert catalog is not None, "the home was made before the controller starts"
        self.settings = settings
        self.store = store
        self.substrate = substrate
        self.engines = dict(adapters.engines)
        self.clock = clock
        self.started_us = clock.now_us()
        self.metrics = Metrics()
        self.records = Records(store, clock)
        self.keyring = Keyring(store, keys.pepper(settings), process_settings.secret)
        self.bookkeeper = Bookkeeper(settings.journals, store, adapters.journal_reader, self.metrics, clock)
        secret = keys.pepper(settings)
        self.publisher = Publisher(settings.link_socket, settings.table_file, clock, self._heard, self._asked, secret)
        self.market = Market(command("market"))
        self.terms = Terms(store, self.records, self.market, clock)
        self.budgets = Budgets(store, self.records, clock, self.publisher.tell, self.publisher.linked)
        self.speeds = Speeds(store)
        self.books = Books(store, self.records, self.terms, self.bookkeeper, self.speeds, clock)
        self.rates = Rates(self._speed)
        self.hindsights = Hindsights(store, command("optimum"), self._rate, self._able, clock)
        self.forecasts = Forecasts(store, self.bookkeeper.settled_until, clock, self.budgets.all)
        self.bookkeeper.charged, self.bookkeeper.ended = self.budgets.spent, self.budgets.gone
        self.rollouts = Rollouts(store, self.records, clock)
        self.bookkeeper.heard, self.bookkeeper.compared = self.rollouts.heard, self.rollouts.compared
        self.witness = Witness(settings.witness, clock)
        self._actuator = Actuator(settings, substrate, self.engines, self.records, clock)
        self._leases = Leases(store, self.records, clock)
        self.notices = Notices(store, self.records, clock)
        self._upstream_keys = UpstreamKeys(process_settings.secret)
        self.preparer = Preparer(adapters.find_artifact, command("prepare"), self.records.decide, clock, self._wake)
        self._health = Health(substrate, self.records, clock, self._wake)
        self._learning = asyncio.Event()
        self._backup_s = 0.0
        self.loop = Loop(self._parts(), catalog, self.preparer, self._health)
        self.habits = Habits(store, self.loop.keepalive)
        self.habits.recall()
        self._take(catalog)

    def _parts(self) -> Parts:
        return Parts(
            substrate=self.substrate,
            engines=self.engines,
            clock=self.clock,
            records=self.records,
            leases=self._leases,
            notices=self.notices,
            actuator=self._actuator,
            publisher=self.publisher,
            keyring=self.keyring,
            upstream_keys=self._upstream_keys,
            metrics=self.metrics,
            terms=self.terms,
            budgets=self.budgets,
            divisions=Divisions(self.store),
            rate=self._rate,
            speed=self._speed,
            judge=self._judge,
            taken_back=self.rollouts.took_back,
            trying=self.rollouts.under_way,
        )

    @property
    def catalog(self) -> Catalog:
        """What is in force: what is wanted, and what rollouts have made of it."""
        return self.loop.catalog

    def _speed(self, model: ModelSpec, pool: PoolSpec) -> Performance | None:
        """How a model runs in a pool, as measured or foretold."""
        return self.speeds.of(model, pool, self.catalog)

    def _rate(self, model: ModelSpec) -> WorkRate | None:
        """The work of a request."""
        return self.rates.of(model, self.catalog)

    def _able(self, model: ModelSpec) -> dict[str, float]:
        """What a replica of each pool does, of the one that work is told in."""
        return self.rates.able(model, self.catalog)

    def _wake(self) -> None:
        self.loop.wake()

    def _heard(self, report: Report) -> None:
        self.loop.heard(report)

    def _asked(self, purses: Purses) -> None:
        self.budgets.heard(purses)

    def _take(self, declared: Catalog) -> None:
        self.declared = declared
        self.rollouts_changed()

    def _judge(self) -> None:
        if self.rollouts.turn(self.loop):
            self.rollouts_changed()

    def rollouts_changed(self) -> None:
        """Versions or their weights are others now; in force with the round that follows."""
        catalog = in_force.catalog(self.declared, self.rollouts.all)
        self.loop.catalog = catalog
        self.terms.refresh(catalog)
        self.budgets.refresh(catalog)
        self._learning.set()
        self.keyring.refresh(catalog)
        self._upstream_keys.refresh(catalog)
        self.metrics.wanted(catalog)

    # --- what administrators do ---------------------------------------------------------------------------------

    def apply(self, catalog: Catalog, changes: Sequence[str]) -> None:
        """From now on this is wanted. Raises Transient when it cannot be kept."""
        catalogs.save(self.store, catalog)
        reason = f"catalog {self.declared.revision} -> {catalog.revision}: {'; '.join(changes)}"
        self.records.decide("catalog.apply", catalog.revision, reason[:2000])
        self.rollouts.applied(self.declared, catalog)
        self._take(catalog)
        self.loop.wake()

    def stop_replica(self, replica: str) -> None:
        """Drain and stop one replica, if there is one of that name."""
        if self.loop.knows(replica):
            self._actuator.stop(Stop(replica, STOP_DRAIN_US, "an administrator asked for it"))
            self._leases.draining(replica)
            self.loop.wake()

    def missing_keys(self, catalog: Catalog) -> list[str]:
        """What a catalog refers to and this process cannot read, before it is applied."""
        upstream = UpstreamKeys(process_settings.secret)
        upstream.refresh(catalog)
        told = [f"{model.key}: {why}" for model in catalog.models if (why := upstream.problem(model))]
        return [*told, *self.keyring.referenced(catalog)[1]]

    async def keys_changed(self) -> None:
        """A key was made or revoked: every gateway knows before the administrator is told that it is done."""
        self.keyring.refresh(self.catalog)
        self.loop.publish()
        if not await self.publisher.settled():
            telemetry.logger().warning("keys.unsettled", revision=self.publisher.revision)

    async def budgets_changed(self) -> None:
        """A budget was set or removed: every gateway knows before the administrator is told that it is done."""
        self.budgets.refresh(self.catalog)
        self.budgets.spent()
        self.loop.publish()
        await self.publisher.settled()

    # --- the loops ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Everything, until cancelled. Adopt what runs and publish before looking at anything slow."""
        loop = self.loop
        await self.substrate.start()
        running = await self.substrate.workers()
        self._leases.adopt(running)
        self.budgets.began(self.bookkeeper.living())
        self.books.began(still_running=bool(running))
        loop.learn(self.store.lease_list(limit=_LEASES_LEARNED))
        for status in running:
            loop.news(status)
        loop.observe()
        loop.publish()
        await self.publisher.start()
        loop.machine = await self.substrate.devices()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(_again("rounds", loop.round, loop.pause))
            group.create_task(_again("health", self._look, self._health.pause))
            group.create_task(self._keep_books())
            group.create_task(_again("costs", self._book, lambda: asyncio.sleep(BOOK_S)))
            group.create_task(_again("backup", self._back_up, self._until_next_backup))
            group.create_task(_again("witness", self._note, lambda: asyncio.sleep(WITNESS_S)))
            group.create_task(_again("habits", self._keep_habits, lambda: asyncio.sleep(HABITS_S)))
            group.create_task(_again("forecasts", self._forecast, lambda: asyncio.sleep(FORECAST_S)))
            group.create_task(_again("hindsight", self._look_back, lambda: asyncio.sleep(HINDSIGHT_S)))
            group.create_task(_again("market", self._learn_market, self._new_names))

    async def close(self) -> None:
        """End what belongs to this process; replicas run on."""
        await self.preparer.close()
        await self.publisher.close()
        await self.bookkeeper.try_to_catch_up()
        self.records.flush()
        await self._keep_habits()
        await self.substrate.close()

    async def _watch(self) -> None:
        async for status in self.substrate.watch():
            self.loop.news(status)
        raise Unreachable("the substrate tells no more")

    async def _look(self) -> None:
        await self._health.look(self.loop.fleet, self.catalog)

    async def _book(self) -> None:
        if self.records.flush():
            await self.books.turn(self.notices.there(self.loop.fleet.devices), self.catalog.models)

    async def _back_up(self) -> None:
        began_s = time.monotonic()
        try:
            await asyncio.to_thread(self.store.backup, self.settings.backups)
        except Transient as error:
            telemetry.logger().error("backup.failed", reason=error.message)
        self._backup_s = time.monotonic() - began_s

    async def _until_next_backup(self) -> None:
        await asyncio.sleep(max(BACKUP_S, BACKUP_PART * self._backup_s))

    async def _note(self) -> None:
        self.witness.note(*self.store.statements.head())

    async def _keep_habits(self) -> None:
        self.habits.keep(model.key for model in self.catalog.models)

    async def _forecast(self) -> None:
        await self.bookkeeper.try_to_catch_up()
        self.forecasts.turn()

    async def _look_back(self) -> None:
        if self.hindsights.last is None:
            await asyncio.sleep(HINDSIGHT_FIRST_S)
        await self.bookkeeper.try_to_catch_up()
        await self.hindsights.turn(self.loop.catalog, self.loop.wake_us)

    async def _new_names(self) -> None:
        await self._learning.wait()

    async def _learn_market(self) -> None:
        self._learning.clear()
        if await self.market.learn(mentioned(self.catalog)):
            self.terms.refresh(self.catalog)
            self.loop.wake()

    async def _keep_books(self) -> None:
        pause_s = IDLE_S

        async def read() -> None:
            nonlocal pause_s
            pause_s = EVERY_S if await self.bookkeeper.try_to_catch_up() else min(pause_s * 2, IDLE_S)

        await _again("books", read, lambda: asyncio.sleep(pause_s))


async def _again(name: str, once: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
    """For ever. One bad round must not end the others' work: it is told, and the next one starts from the state."""
    while True:
        try:
            await once()
        except Unreachable:
            raise  # the host is gone, and so is everything
        except Exception as error:  # noqa: BLE001 - the outermost frame of a loop
            telemetry.logger().error(f"{name}.stumbled", error=repr(error), exc_info=True)
            await asyncio.sleep(STUMBLE_S)
        await pause()


async def run(settings: Settings, adapters: Adapters, *, serve_admin: Callable[[Controller], Any]) -> None:
    """Run a controller and its admin API until SIGTERM; the replicas run on."""
    controller = Controller(settings, adapters)
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
    stopped.cancel()
    await controller.close()
