"""The simulated fleet: devices of the catalog's pools, replicas that boot, drain and end, and what each lease cost.

Stands where the substrate and the observer stand in a cloud: it carries out a plan's starts and stops and tells the
fleet and the routes as they are. Nothing here decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from headrace.economics.booking import cost_nanousd
from headrace.policy import performance, placement
from headrace.policy.actions import Start
from headrace.policy.planning import replica_id
from headrace.specs.catalog import Catalog, PoolSpec, TenantSpec
from headrace.state.fleet import Device, Fleet, Lease, Replica
from headrace.state.table import Ability, RouteCut, RouteModel, RouteReplica, RouteTenant
from headrace.state.work import WorkRate
from headrace.twin.behaviour import Behaviour
from headrace.twin.replica import SimReplica

_ABILITY: Final = Ability()


class Running:
    """A replica that is there: how it is run, and its lease."""

    __slots__ = ("engine", "lease", "replica", "route", "until_us")

    def __init__(self, replica: Replica, lease: Lease, engine: SimReplica) -> None:
        self.replica = replica
        self.lease = lease
        self.engine = engine
        self.route: RouteReplica | None = None
        self.until_us = 0  # when its drain is over at the latest


class SimFleet:
    """Replicas by name, and the leases of those that have ended."""

    def __init__(self, catalog: Catalog, behaviours: dict[tuple[str, str], Behaviour], billing_min_us: int) -> None:
        self.catalog = catalog
        self.running: dict[str, Running] = {}
        self.ended: list[tuple[Lease, float]] = []  # and its time with work, microseconds
        self.starts = 0
        self.counts: list[tuple[int, str, int, int]] = []  # moment, model, replicas, ready
        self._counted: dict[str, tuple[int, int]] = {}
        self._behaviours = behaviours
        self._billing_min_us = billing_min_us
        self._devices = {device.device: device for device in devices(catalog.pools)}
        self._away: set[str] = set()
        self._seen: Fleet | None = None
        self._models = {model.key: model for model in catalog.models}
        self._count = 0

    def start(self, start: Start, now_us: int) -> Running:
        """A replica begins to boot."""
        key = f"{start.model}@{start.version}"
        model = self._models[key]
        behaviour = self._behaviours[key, start.pool]
        device, rest = self._devices[start.device], model.engine.sleep
        held_bytes = device.takes(model.memory_bytes)
        self._count += 1
        incarnation = str(self._count)
        replica = Replica(
            id=start.replica,
            model=start.model,
            version=start.version,
            digest=model.digest,
            pool=start.pool,
            node=start.node,
            device=start.device,
            memory_bytes=held_bytes,
            slots=behaviour.slots,
            phase="starting",
            incarnation=incarnation,
            address="simulated",
            launched_us=now_us,
            kept_bytes=device.takes(rest.kept_bytes) if rest else 0,
            host_bytes=rest.host_bytes if rest else 0,
        )
        lease = Lease(
            replica=start.replica, incarnation=incarnation, model=start.model, version=start.version, pool=start.pool,
            node=start.node, device=start.device, memory_bytes=held_bytes,
            share_ppm=self._share_ppm(start.pool, held_bytes), started_us=now_us, cause=start.reason,
        )  # fmt: skip
        made = Running(replica, lease, SimReplica(start.replica, behaviour, now_us))
        self.running[start.replica] = made
        self.starts += 1
        self._seen = None
        return made

    def ready(self, one: Running, now_us: int) -> None:
        """It has booted."""
        one.replica = msgspec.structs.replace(one.replica, phase="ready", ready_us=now_us)
        one.lease = msgspec.structs.replace(one.lease, ready_us=now_us)
        self._route(one)

    def sleep(self, one: Running, reason: str, now_us: int) -> None:
        """It falls asleep: what it holds from now on is little, and what its cache knew is forgotten."""
        assert not one.engine.running, "who has work does not sleep"
        share_ppm = self._part_ppm(one.replica.pool, one.replica.kept_bytes)
        self._turn(one, "asleep", now_us, reason, way="sleep", share_ppm=share_ppm)

    def wake(self, one: Running, reason: str, now_us: int) -> None:
        """It begins to wake, and holds all of its memory."""
        share_ppm = self._share_ppm(one.replica.pool, one.replica.memory_bytes)
        self._turn(one, "waking", now_us, reason, way="wake", share_ppm=share_ppm)

    def _turn(
        self,
        one: Running,
        phase: Literal["asleep", "waking"],
        now_us: int,
        reason: str,
        *,
        way: Literal["sleep", "wake"],
        share_ppm: int,
    ) -> None:
        """One lease ends, and another begins."""
        before = msgspec.structs.replace(one.lease, ended_us=now_us, ended_by=reason)
        self.ended.append((before, one.engine.busy_us))
        self._count += 1
        name, key = str(self._count), one.replica.key
        one.replica = msgspec.structs.replace(one.replica, phase=phase, incarnation=name, launched_us=now_us)
        one.lease = msgspec.structs.replace(
            one.lease, incarnation=name, way=way, share_ppm=share_ppm, started_us=now_us, ready_us=0, cause=reason
        )
        stamp = one.engine.stamp
        one.engine = SimReplica(one.replica.id, self._behaviours[key, one.replica.pool], now_us)
        one.engine.stamp = stamp + 1  # what was due of the one before is not of this one
        one.route = None
        self._seen = None

    def drain(self, one: Running, until_us: int, now_us: int) -> None:
        """It gets no more work."""
        one.replica = one.replica.going()
        one.lease = msgspec.structs.replace(one.lease, drain_us=now_us)
        one.until_us = until_us
        if one.route is not None:
            self._route(one)
        self._seen = None

    def end(self, one: Running, now_us: int, by: str) -> None:
        """It is gone."""
        del self.running[one.replica.id]
        self.ended.append((msgspec.structs.replace(one.lease, ended_us=now_us, ended_by=by), one.engine.busy_us))
        self._seen = None

    def take_away(self, device: str) -> list[Running]:
        """A spot device is lost; those who were there."""
        self._away.add(device)
        self._seen = None
        return [one for one in self.running.values() if one.replica.device == device]

    def doom(self, device: str, at_us: int) -> None:
        """A spot device will be lost then; 0 takes that back."""
        self._devices[device] = msgspec.structs.replace(self._devices[device], doomed_us=at_us)
        self._seen = None

    def give_back(self, device: str) -> None:
        """It can be had again."""
        self._away.discard(device)
        self.doom(device, 0)

    def close(self, now_us: int) -> None:
        """The end of the world: leases end with it."""
        for one in list(self.running.values()):
            self.end(one, now_us, "the trace was over")

    def seen(self, now_us: int) -> Fleet:
        """The fleet as an observer tells it."""
        if self._seen is None:
            replicas = tuple(one.replica for one in self.running.values())
            there = tuple(device for name, device in self._devices.items() if name not in self._away)
            self._seen = Fleet(devices=there, replicas=replicas, at_us=now_us)
        return self._seen

    def count(self, now_us: int) -> None:
        """How many replicas there are, whenever that has changed."""
        found: dict[str, tuple[int, int]] = {}
        for one in self.running.values():
            have, ready = found.get(one.replica.key, (0, 0))
            found[one.replica.key] = have + 1, ready + (one.replica.phase == "ready")
        for key in found.keys() | self._counted.keys():
            if found.get(key, (0, 0)) != self._counted.get(key, (0, 0)):
                self.counts.append((now_us, key, *found.get(key, (0, 0))))
        self._counted = found

    def warm(self, wanted: Mapping[str, int]) -> None:
        """Replicas that are there when the trace begins: those a plan starts for it, as many as will fit."""
        for key, count in wanted.items():
            for _ in range(count):
                model = self.catalog.model(key)
                device = placement.Space.of(self.seen(0)).find(model) if model is not None else None
                if model is None or device is None:
                    break
                name = replica_id(model, set(self.running))
                start = Start(name, model.name, model.version, device.pool, device.node, device.device, "was there")
                self.ready(self.start(start, 0), 1)  # 0 would say never

    def has_ready(self, model: str, version: str) -> bool:
        """Whether a replica of that version is ready."""
        whose = (model, version)
        return any(
            (one.replica.model, one.replica.version) == whose and one.replica.phase == "ready"
            for one in self.running.values()
        )

    def routes(self) -> tuple[RouteReplica, ...]:
        """The replicas that gateways may send to, or still have work at."""
        return tuple(one.route for one in self.running.values() if one.route is not None)

    def cost_nanousd(self, lease: Lease) -> int:
        """What a lease cost: its share of its device for its time, at least the shortest time that is billed."""
        pool = self.catalog.pool(lease.pool)
        assert pool is not None, "leases are of the catalog's pools"
        assert pool.price_nanousd_per_hour is not None, "a scenario without prices is refused"
        to_us = max(lease.ended_us, lease.started_us + self._billing_min_us)
        return cost_nanousd(pool.price_nanousd_per_hour, lease.started_us, to_us) * lease.share_ppm // 1_000_000

    def _route(self, one: Running) -> None:
        replica = one.replica
        one.route = RouteReplica(
            id=replica.id, model=replica.model, version=replica.version, incarnation=replica.incarnation,
            address=replica.address, slots=replica.slots, phase=replica.phase, upstream_model="",
            pool=replica.pool, holds_tokens=self._holds(replica),
        )  # fmt: skip
        self._seen = None

    def _holds(self, replica: Replica) -> int:
        """The longest request it has room for, as the controller tells it."""
        model, pool = self._models.get(replica.key), self.catalog.pool(replica.pool)
        return performance.holds_tokens(model, pool) if model and pool else 0

    def _share_ppm(self, name: str, held_bytes: int) -> int:
        """What a lease holds of its device: its memory's share, or all of it where nothing else fits beside it."""
        pool = self.catalog.pool(name)
        assert pool is not None, "plans name pools of the catalog"
        left = pool.memory_bytes - held_bytes
        others = [other for other in self.catalog.models if name in other.pools and other.owned]
        beside = any(other.memory_bytes <= left for other in others)  # of sleepers who fit, each pays beside that
        return self._part_ppm(name, held_bytes) if pool.grain_bytes or beside else 1_000_000

    def _part_ppm(self, name: str, held_bytes: int) -> int:
        pool = self.catalog.pool(name)
        assert pool is not None, "as above"
        return min(1_000_000, 1_000_000 * held_bytes // pool.memory_bytes)


def devices(pools: Iterable[PoolSpec]) -> list[Device]:
    """Every device of every pool."""
    return [
        Device(
            node=pool.name,
            device=f"{pool.name}-{number}",
            pool=pool.name,
            memory_bytes=pool.memory_bytes,
            cpus=pool.cpus,
            grain_bytes=pool.grain_bytes,
            host_bytes=pool.host_bytes,
        )
        for pool in pools
        for number in range(pool.count)
    ]


def route_models(
    catalog: Catalog, rates: dict[str, WorkRate], wake_us: dict[str, int], cuts: Mapping[str, RouteCut] = {}
) -> tuple[RouteModel, ...]:
    """Every model version as gateways see it."""
    return tuple(
        RouteModel(
            name=model.name,
            version=model.version,
            weight=model.weight,
            task=model.task,
            ability=_ABILITY,
            context_tokens=model.engine.context_tokens,
            output_tokens_default=model.output_tokens_default,
            queue_max=model.scaling.queue_max,
            ttft_us=model.objective.ttft_us,
            start_timeout_us=model.scaling.start_timeout_us,
            state="simulated",
            created_s=0,
            wake_us=wake_us.get(model.key, 0),
            rate=rates.get(model.key),
            shadow=model.shadow,
            tpot_us=model.objective.tpot_us,
            cut=cuts.get(model.key),
        )
        for model in catalog.models
    )


def route_tenants(tenants: Iterable[TenantSpec], names: Sequence[str]) -> tuple[RouteTenant, ...]:
    """Tenants of a trace that the catalog knows by name, called by their place in the trace as its requests are."""
    weights = {tenant.name: tenant.weight for tenant in tenants if tenant.weight != 1}
    return tuple(
        RouteTenant(name=str(place), weight=weights[name]) for place, name in enumerate(names) if name in weights
    )
