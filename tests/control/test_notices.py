"""Notices that a device goes: replacements at once, no one cut who can end, nothing placed there, nothing charged after."""

from pathlib import Path

import msgspec
import pytest

from headrace.control.notices import Notices, chosen
from headrace.errors import Invalid
from headrace.specs.catalog import Catalog, PoolSpec, Scaling
from tests.control.sim import GIB, S, SimCloud, catalog, held, model

pytestmark = pytest.mark.anyio


def two_pools() -> Catalog:
    """The machine in two parts: one that may be taken away, and one that stays."""
    parts = [
        PoolSpec(
            name=name, accelerator="cpu", count=1, memory_bytes=2 * GIB, cpus=4, price_nanousd_per_hour=80_000_000,
            interruptible=name == "spot",
        )
        for name in ("spot", "stays")
    ]  # fmt: skip
    wanted = catalog(model(pools=("spot", "stays"), scaling=Scaling(max_replicas=2)))
    return msgspec.structs.replace(wanted, pools=tuple(parts))


@pytest.fixture
async def cloud(tmp_path: Path) -> SimCloud:
    return SimCloud(tmp_path, two_pools())


def spot(cloud: SimCloud):
    return chosen(cloud.loop.fleet.devices, "spot", "")


def phases(cloud: SimCloud) -> dict[str, str]:
    return {replica.pool: replica.phase for replica in cloud.loop.fleet.replicas}


async def test_a_replacement_starts_at_once_and_who_is_there_works_on_until_it_is_ready(cloud):
    """Nobody waits for a start that a notice foretold; then the doomed one drains, with a reason that says why."""
    name = await cloud.awake()
    assert phases(cloud) == {"spot": "ready"}
    cloud.notices.give(spot(cloud), 120 * S)
    cloud.report(held(queued=0, in_flight=1), in_flight={name: 1})
    await cloud.after(S)
    assert phases(cloud) == {"spot": "ready", "stays": "starting"}
    assert [replica.phase for replica in cloud.table.replicas] == ["ready"]
    cloud.substrate.become(cloud.substrate.launched[-1], "ready")
    cloud.report(held(queued=0, in_flight=1), in_flight={name: 1})
    await cloud.after(S)
    assert phases(cloud) == {"spot": "draining", "stays": "ready"}
    cloud.records.flush()
    told = [one.reason for one in cloud.store.decisions(limit=9, subject=name) if one.kind == "replica.stop"]
    assert told == ["cpu will be taken away in 1.97 min; 1 ready elsewhere, 1 wanted"]
    cloud.report()
    await cloud.after(S)
    assert cloud.substrate.stopped == [name]


async def test_in_the_last_moments_it_gets_no_more_work_though_nobody_is_ready_elsewhere(cloud):
    """What is at work there can end; who comes waits for the replacement."""
    name = await cloud.awake()
    cloud.notices.give(spot(cloud), 20 * S)
    cloud.report(held(queued=0, in_flight=1), in_flight={name: 1})
    await cloud.after(S)
    assert phases(cloud) == {"spot": "draining", "stays": "starting"}
    for _ in range(16):
        cloud.report(held(queued=0, in_flight=1), in_flight={name: 1})
        await cloud.after(S)
    assert cloud.substrate.stopped == []
    for _ in range(3):
        cloud.report(held(queued=0, in_flight=1), in_flight={name: 1})
        await cloud.after(S)
    assert cloud.substrate.stopped == [name]


async def test_what_is_gone_is_not_used_nor_charged_until_it_is_back(cloud):
    """Also by a controller that has just started; taken back, it is first choice again."""
    await cloud.loop.round()
    cloud.notices.give(spot(cloud), 5 * S)
    cloud.notices.give(spot(cloud), 500 * S)  # nobody is given time twice
    cloud.clock.us += 6 * S
    again = Notices(cloud.store, cloud.records, cloud.clock)
    assert [device.pool for device in again.there(cloud.loop.fleet.devices)] == ["stays"]
    cloud.report(held())
    await cloud.after(S)
    assert phases(cloud) == {"stays": "starting"}
    cloud.notices.take_back(spot(cloud))
    cloud.report(held(queued=9))
    await cloud.after(S)
    assert phases(cloud)["spot"] == "starting"
    assert len(cloud.notices.there(cloud.loop.fleet.devices)) == 2


async def test_the_device_that_is_meant_must_be_there(cloud):
    """The error names what there is."""
    await cloud.loop.round()
    with pytest.raises(Invalid, match="no pool 'gpus' has a device here; there are: spot, stays"):
        chosen(cloud.loop.fleet.devices, "gpus", "")
    with pytest.raises(Invalid, match="pool spot has no device 'gpu-9'; it has: cpu"):
        chosen(cloud.loop.fleet.devices, "spot", "gpu-9")
