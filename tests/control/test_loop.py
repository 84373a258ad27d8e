"""The slow loop in virtual time: what it starts, drains, stops, adopts and tells, whatever its neighbours do."""

import asyncio
from collections import deque
from pathlib import Path

import pytest

from headrace.errors import Permanent
from headrace.specs.catalog import EngineSpec, ModelSpec, Scaling
from tests.control.sim import S, SimCloud, catalog, held, model

pytestmark = pytest.mark.anyio


@pytest.fixture
def cloud(tmp_path: Path) -> SimCloud:
    return SimCloud(tmp_path, catalog(model()))


def phases(cloud: SimCloud) -> dict[str, str]:
    return {replica.id: replica.phase for replica in cloud.loop.fleet.replicas}


async def test_a_held_request_starts_one_replica_and_a_second_round_starts_no_other(cloud):
    """The report wakes the loop; the launch is asked for once, however many rounds follow."""
    cloud.report(held())
    assert cloud.loop.changed.is_set()
    await cloud.loop.round()
    await cloud.after(S // 4)
    assert len(cloud.substrate.launched) == 1
    assert [m.state for m in cloud.table.models] == ["waking"]


async def test_nothing_asked_nothing_started(cloud):
    """A sleeping cloud stays asleep, and says so."""
    await cloud.loop.round()
    assert cloud.substrate.launched == []
    assert [m.state for m in cloud.table.models] == ["asleep"]


async def test_ready_is_in_the_table_with_its_learned_wake_time(cloud):
    """The table after the ready news routes to the replica and knows how long the wake took."""
    name = await cloud.awake()
    assert [(r.id, r.phase, r.address) for r in cloud.table.replicas] == [
        (name, "ready", f"unix:{cloud.settings.run}/engine-{name}/e.sock")
    ]
    assert cloud.table.models[0].wake_us == S


async def test_an_idle_replica_is_drained_in_two_phases(cloud):
    """After the idle time: first the table says draining, then, when no gateway has work there, it is stopped."""
    name = await cloud.awake()
    cloud.report(in_flight={name: 1})
    cloud.clock.us += 301 * S
    cloud.report(in_flight={name: 1})
    await cloud.loop.round()
    assert cloud.table.replicas[0].phase == "draining"
    await cloud.after(S)
    assert cloud.substrate.stopped == []
    cloud.report()
    await cloud.loop.round()
    assert cloud.substrate.stopped == [name]


async def test_a_drain_waits_for_gateways_that_have_not_seen_the_table(cloud):
    """A gateway that knows an older table may still send work; its silence is not taken for idleness."""
    name = await cloud.awake()
    cloud.clock.us += 301 * S
    cloud.report(revision=1)
    await cloud.loop.round()
    assert phases(cloud) == {name: "draining"}
    assert cloud.substrate.stopped == []


async def test_a_drain_has_an_end(cloud):
    """At its deadline a replica is stopped though a gateway still has work there."""
    name = await cloud.awake()
    cloud.clock.us += 301 * S
    for _ in range(3):
        cloud.report(in_flight={name: 1})
        await cloud.after(60 * S)
    assert cloud.substrate.stopped == [name]


async def test_a_restarted_controller_puts_no_busy_replica_to_sleep(cloud, tmp_path):
    """It adopts what runs, and has heard of no traffic yet: that is not idleness, nor is it a reason to start others."""
    name = await cloud.awake()
    cloud.clock.us += 1_000 * S  # busy all the time, as far as the gateways know
    again = SimCloud(tmp_path, cloud.loop.catalog, cloud.clock, cloud.substrate)
    await again.adopt()
    await again.loop.round()
    await again.after(10 * S)
    assert phases(again) == {name: "ready"}
    assert (again.substrate.launched, again.substrate.stopped) == ([name], [])


async def test_leases_continue_over_a_restart_of_the_controller(cloud, tmp_path):
    """One lease of one incarnation, open before and after, with its first cause."""
    await cloud.awake()
    before = cloud.store.lease_list()
    again = SimCloud(tmp_path, cloud.loop.catalog, cloud.clock, cloud.substrate)
    await again.adopt()
    await again.loop.round()
    assert again.store.lease_list() == before
    assert [(lease.ended_us, lease.ready_us > 0) for lease in before] == [(0, True)]
    assert before[0].share_ppm == 250_000  # 1 GiB of the pool's 4


async def test_a_crash_closes_one_lease_and_opens_the_next(cloud):
    """Every incarnation has its own lease; the second one says why it was started."""
    name = await cloud.awake()
    cloud.substrate.become(name, "starting", incarnation="", pid=0, reason="was ended by SIGKILL")
    cloud.substrate.become(name, "starting", incarnation="two", restarts=1, started_us=cloud.clock.now_us())
    await cloud.after(S)
    newest, first = cloud.store.lease_list()
    assert (newest.incarnation, newest.ended_us) == ("two", 0)
    assert newest.cause == "started again, since its predecessor was ended by SIGKILL"
    assert first.ended_by == "was ended by SIGKILL"
    kinds = [decision.kind for decision in cloud.store.decisions(limit=10)]
    assert kinds == ["replica.lost", "replica.ready", "replica.start", "price.set"]


async def test_a_launch_that_was_lost_is_noticed_and_made_again(cloud):
    """A replica the substrate does not know of is not believed in for longer than a moment."""
    cloud.substrate.loses_launches = True
    cloud.report(held())
    await cloud.loop.round()
    cloud.substrate.loses_launches = False
    cloud.clock.us += S
    cloud.report(held())
    await cloud.loop.round()
    assert len(cloud.substrate.launched) == 2
    assert list(phases(cloud).values()) == ["starting"]


async def test_an_engine_that_refuses_makes_a_fault_and_no_storm(cloud):
    """The reason is in the table, so that gateways refuse; it is tried again after a minute, not at every round."""
    cloud.engines["llama_cpp"].refuses = Permanent("the weights are gone")
    for _ in range(3):
        cloud.report(held())
        await cloud.after(S // 4)
    assert cloud.table.models[0].fault == "it cannot be started: the weights are gone"
    refused = [d for d in cloud.store.decisions(limit=10) if d.kind == "replica.refused"]
    assert len(refused) == 1
    cloud.engines["llama_cpp"].refuses = None
    cloud.clock.us += 60 * S
    cloud.report(held())
    await cloud.loop.round()
    assert cloud.table.models[0].fault == ""
    assert len(cloud.substrate.launched) == 1


async def test_a_model_without_weights_is_prepared_before_it_is_started(cloud):
    """Nothing is launched for it; it is prepared first, and its failure is told with the reason."""
    cloud.prepared.clear()
    cloud.report(held())
    await cloud.loop.round()
    assert cloud.substrate.launched == []
    assert cloud.table.models[0].state == "preparing"
    cloud.loop.changed.clear()
    await cloud.loop.changed.wait()  # its process, `false`, has ended
    await cloud.loop.round()
    assert cloud.table.models[0].fault == "its weights could not be prepared: ended with status 1"


async def test_a_version_that_cannot_be_prepared_is_left_alone_once_it_was_rolled_back(tmp_path):
    """It goes back, its reason is told once, and nothing is done for it until it is deployed anew."""
    bad = model(version="v2", weight=0)
    cloud = SimCloud(tmp_path / "home", catalog(model(), bad))
    cloud.prepared = {model().key}
    tried: list[str] = []

    async def fails(spec: ModelSpec) -> tuple[int, deque[str]]:
        tried.append(spec.key)
        return 1, deque(["these are no weights"])

    cloud.preparer._run = fails

    async def hours() -> None:
        for _ in range(20):
            await cloud.after(600 * S)
            await asyncio.sleep(0)  # a try is over in its first step

    async def deploy() -> str:
        cloud.rollouts.deploy(cloud.declared, bad)
        cloud.loop.anew(bad)
        cloud.rollouts_changed()
        await cloud.loop.round()
        assert cloud.rollouts.all["m"].phase == "warming"
        assert cloud.preparer.busy_with == bad.key
        await asyncio.sleep(0)
        await cloud.loop.round()
        assert cloud.rollouts.all["m"].phase == "rolled_back"
        return cloud.rollouts.all["m"].reason

    assert "these are no weights" in await deploy()
    await hours()
    assert tried == [bad.key]
    assert "these are no weights" in cloud.table.models[1].fault
    assert "these are no weights" in await deploy()
    await hours()
    assert tried == 2 * [bad.key]
    told = [d.reason for d in cloud.store.decisions(limit=200, subject=bad.key) if d.kind == "model.unprepared"]
    assert told == ["its weights could not be prepared: these are no weights"]
    successor = SimCloud(tmp_path / "home", cloud.declared, cloud.clock, cloud.substrate)
    successor.prepared = {model().key}
    successor.rollouts_changed()
    await successor.loop.round()
    assert successor.preparer.busy_with == ""


async def test_a_version_without_traffic_is_prepared_ahead_once_and_again_when_it_is_named(tmp_path):
    """Requests that name it are told why not, and have it tried again."""
    spare = model(version="v2", weight=0)
    cloud = SimCloud(tmp_path / "home", catalog(model(), spare))
    cloud.prepared = {model().key}
    tried: list[str] = []

    async def fails(spec: ModelSpec) -> tuple[int, deque[str]]:
        tried.append(spec.key)
        return 1, deque(["the hub cannot be reached"])

    cloud.preparer._run = fails
    for _ in range(3):
        await cloud.after(600 * S)
        await asyncio.sleep(0)
    assert tried == [spare.key]
    cloud.report(held(spare.key, queued=0, arrivals=1))
    await cloud.loop.round()
    await asyncio.sleep(0)
    assert tried == 2 * [spare.key]


async def test_a_changed_catalog_is_followed(cloud):
    """min 1 starts a replica; a model taken out is drained and stopped."""
    cloud.loop.catalog = catalog(model(scaling=Scaling(min_replicas=1)))
    await cloud.after(3 * S)
    (name,) = cloud.substrate.launched
    cloud.loop.catalog = catalog()
    await cloud.after(S)
    await cloud.after(S)
    assert cloud.substrate.stopped == [name]


async def test_a_full_disk_stops_no_deed_and_nothing_is_forgotten(cloud, monkeypatch):
    """The replica is started and routed to while records cannot be written; they are written when they can be."""
    from headrace.errors import Transient

    kept = cloud.store.decide

    def full(decision: object) -> int:
        raise Transient("the disk is full")

    monkeypatch.setattr(cloud.store, "decide", full)
    await cloud.awake()
    assert len(cloud.table.replicas) == 1
    assert cloud.store.decisions(limit=9) == []
    monkeypatch.setattr(cloud.store, "decide", kept)
    await cloud.after(S)
    assert [d.kind for d in cloud.store.decisions(limit=9)] == ["replica.ready", "replica.start", "price.set"]
    assert len(cloud.store.lease_list(open_only=True)) == 1


async def test_a_missing_secret_hides_one_server_and_no_other_model(tmp_path):
    """A foreign server whose key cannot be read is a fault of that model alone."""
    closed = EngineSpec(kind="openai", url="http://127.0.0.1:9/v1", api_key="env:NOT_SET")
    cloud = SimCloud(tmp_path, catalog(model(), model("far", "openai", engine=closed)))
    cloud.upstream_keys.refresh(cloud.loop.catalog)
    await cloud.awake()
    faults = {m.name: m.fault for m in cloud.table.models}
    assert faults == {"far": "the key of its server is missing: env:NOT_SET is not set", "m": ""}
    assert [r.model for r in cloud.table.replicas] == ["m"]
