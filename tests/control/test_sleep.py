"""A replica between hot and gone, by the loop: it falls asleep, is woken before anything is started, and is let go."""

from pathlib import Path

import pytest

from headrace.specs.catalog import EngineSpec, Scaling, Sleep
from tests.control.sim import GIB, S, SimCloud, catalog, held, model

pytestmark = pytest.mark.anyio
MIB = 1 << 20
RESTS = EngineSpec(kind="llama_cpp", slots=4, sleep=Sleep(kept_bytes=64 * MIB))
LIMITS = Scaling(max_replicas=2, idle_to_sleep_us=10 * S, idle_to_zero_us=300 * S)


@pytest.fixture
def cloud(tmp_path: Path) -> SimCloud:
    return SimCloud(tmp_path, catalog(model(engine=RESTS, scaling=LIMITS)))


async def asleep(cloud: SimCloud) -> str:
    """A replica that was used, and sleeps."""
    name = await cloud.awake()
    cloud.clock.us += 11 * S
    cloud.report()
    await cloud.loop.round()
    cloud.report()
    await cloud.loop.round()
    assert cloud.substrate.slept == [(name, f"{name}.1")]
    cloud.substrate.become(name, "asleep", incarnation=f"{name}.2", started_us=cloud.clock.now_us())
    await cloud.after(S)
    return name


def phases(cloud: SimCloud) -> list[str]:
    return [replica.phase for replica in cloud.loop.fleet.replicas]


async def test_gateways_send_nothing_more_before_it_sleeps(cloud):
    """First the table says draining; it sleeps when no gateway has work there."""
    name = await cloud.awake()
    cloud.clock.us += 11 * S
    cloud.report(in_flight={name: 1})
    await cloud.loop.round()
    assert phases(cloud) == ["dozing"]
    assert [replica.phase for replica in cloud.table.replicas] == ["draining"]
    assert cloud.substrate.slept == []
    cloud.report()
    await cloud.after(S)
    assert cloud.substrate.slept == [(name, f"{name}.1")]


async def test_who_is_given_work_while_it_dozes_stays_awake(cloud):
    """Sleep cuts nobody, and nothing is started in its place."""
    name = await cloud.awake()
    cloud.clock.us += 11 * S
    cloud.report()
    await cloud.loop.round()
    for _ in range(7):
        cloud.report(held(queued=0, in_flight=1), in_flight={name: 1})
        await cloud.after(S)
    assert (phases(cloud), cloud.substrate.slept, len(cloud.substrate.launched)) == (["ready"], [], 1)
    assert [replica.phase for replica in cloud.table.replicas] == ["ready"]


async def test_asleep_it_holds_little_and_gateways_do_not_know_it(cloud):
    """The model is told to be asleep, and to wake as quickly as it did."""
    await asleep(cloud)
    (replica,) = cloud.loop.fleet.replicas
    assert (replica.phase, replica.held_bytes) == ("asleep", 64 * MIB)
    assert cloud.table.replicas == ()
    assert cloud.table.models[0].state == "asleep"
    assert cloud.loop.fleet.free_bytes("local", "cpu") == 4 * GIB - 64 * MIB


async def test_a_held_request_wakes_it_and_starts_nothing(cloud):
    """Asked once, whatever the rounds until the substrate tells; its memory is taken from then on."""
    name = await asleep(cloud)
    for _ in range(3):
        cloud.report(held())
        await cloud.after(S // 4)
    assert cloud.substrate.woken == [(name, f"{name}.2")]
    assert len(cloud.substrate.launched) == 1
    assert phases(cloud) == ["waking"]
    assert cloud.loop.fleet.free_bytes("local", "cpu") == 3 * GIB
    cloud.substrate.become(name, "waking", incarnation=f"{name}.3", started_us=cloud.clock.now_us(), woken=True)
    cloud.clock.us += S // 2
    cloud.substrate.become(name, "ready")
    cloud.report()
    await cloud.loop.round()
    assert [(one.id, one.incarnation) for one in cloud.table.replicas] == [(name, f"{name}.3")]
    assert cloud.loop.wake_us("m@v1") == S  # a start is not mistaken for a wake


async def test_each_stretch_is_a_lease_of_what_it_holds(cloud):
    """Awake, asleep at its little share, awake again: they follow each other to the microsecond."""
    name = await asleep(cloud)
    cloud.report(held())
    await cloud.after(S)
    cloud.substrate.become(name, "waking", incarnation=f"{name}.3", started_us=cloud.clock.now_us(), woken=True)
    cloud.records.flush()
    last, rest, first = cloud.store.lease_list()
    assert [lease.way for lease in (first, rest, last)] == ["start", "sleep", "wake"]
    assert (first.share_ppm, rest.share_ppm, last.share_ppm) == (250_000, 15_625, 250_000)
    assert (first.ended_us, rest.ended_us, last.ended_us) == (rest.started_us, last.started_us, 0)


async def test_what_is_not_used_for_long_is_let_go(cloud):
    """After idle_to_zero, counted from the last use, a sleeper is stopped."""
    name = await asleep(cloud)
    cloud.report()
    await cloud.after(280 * S)
    assert phases(cloud) == ["asleep"]
    cloud.report()
    await cloud.after(20 * S)
    cloud.report()
    await cloud.after(S)
    assert cloud.substrate.stopped == [name]


async def test_a_sleeper_that_dies_is_gone_and_the_next_request_starts_another(cloud):
    """It is not started again for nobody."""
    name = await asleep(cloud)
    cloud.substrate.become(name, "stopped", reason="was ended by SIGKILL while it slept; nobody waits for it")
    cloud.report()
    await cloud.loop.round()
    assert (phases(cloud), len(cloud.substrate.launched)) == ([], 1)
    cloud.report(held())
    await cloud.after(S)
    assert len(cloud.substrate.launched) == 2


async def test_a_controller_that_has_just_started_finds_it_asleep(cloud):
    """What the substrate tells is enough to adopt it, and to wake it."""
    name = await asleep(cloud)
    other = SimCloud(cloud.settings.home, cloud.loop.catalog, cloud.clock, cloud.substrate)
    await other.adopt()
    await other.loop.round()
    assert phases(other) == ["asleep"]
    other.report(held())
    await other.after(S)
    assert cloud.substrate.woken == [(name, f"{name}.2")]


async def test_a_changed_model_lets_its_sleepers_go(cloud):
    """They run what is not wanted any more."""
    name = await asleep(cloud)
    cloud.loop.catalog = catalog(model(engine=RESTS, scaling=LIMITS, memory_bytes=2 * GIB))
    cloud.prepared = {"m@v1"}
    cloud.report()
    await cloud.after(S)
    cloud.report()
    await cloud.after(S)
    assert cloud.substrate.stopped == [name]
