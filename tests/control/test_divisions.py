"""A model in two pools over a restart of the controller, in virtual time, as two gateways with long histories tell it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.control.divisions import Divisions
from headrace.errors import Transient
from headrace.policy.performance import foretold
from headrace.state.fleet import Device
from headrace.state.mix import Sizes, added, size_class
from headrace.state.table import RouteCut
from tests.control.sim import S, SimClock, SimCloud, held
from tests.twin.kinds import cloud as two_pools

pytestmark = pytest.mark.anyio

ROUND_US = 10 * S
SHORT, LONG = (150, 100), (6_000, 100)
RATES = {SHORT: 26.0, LONG: 4.8}  # a second: two of the small device and one of the large, instead of two large ones


class Gateway:
    """What one of two workers counts, of half of the requests, by the table that is in force."""

    def __init__(self, epoch: str, began_us: int) -> None:
        self.epoch, self.began_us = epoch, began_us
        self.asked_us = self.long_us = self.answers = 0
        self.sizes: Sizes = {}

    def serve(self, cloud: SimCloud, for_us: int) -> None:
        (route,) = cloud.table.models
        for size, rate in RATES.items():
            count = round(rate * for_us / S / 2)
            work_us = count * route.rate.work_us(*size) if route.rate else 0
            self.asked_us += work_us
            self.long_us += work_us if route.cut and size[0] > route.cut.upto_tokens else 0
            self.answers += count
            self.sizes = added([self.sizes, {size_class(size[0]): (count, count * size[0], count * size[1])}])

    def tell(self, cloud: SimCloud) -> None:
        told: dict[str, Any] = {
            "queued": 0, "in_flight": 4, "asked_us": self.asked_us, "long_asked_us": self.long_us, "sizes": self.sizes,
            "begun": self.answers, "late": self.answers // 200, "paced": self.answers, "slow": self.answers // 200,
        }  # fmt: skip
        cloud.report(held(last_us=cloud.clock.us, **told), epoch=self.epoch, began_us=self.began_us)


def started(home: Path, clock: SimClock | None = None, before: SimCloud | None = None) -> SimCloud:
    catalog = two_pools("h100", "l40s")
    made = SimCloud(home, catalog, clock, before.substrate if before else None)
    made.loop.machine = [
        Device(node="n", device=f"{kind}{number}", pool=f"nvidia {kind}", memory_bytes=size * 10**9, cpus=8)
        for kind, size in (("l40s", 48), ("h100", 80))
        for number in range(8)
    ]
    (model,) = catalog.models
    made.speeds.update({(model.key, pool.name): foretold(model, pool) for pool in catalog.pools})
    return made


async def hours(cloud: SimCloud, gateways: list[Gateway], us: int) -> None:
    """Time passes in rounds; replicas are ready a round after their launch, and gone as soon as they may go."""
    for _ in range(us // ROUND_US):
        gone = len(cloud.substrate.stopped)
        cloud.clock.us += ROUND_US
        for gateway in gateways:
            gateway.serve(cloud, ROUND_US)
            gateway.tell(cloud)
        await cloud.loop.round()
        for name, status in list(cloud.substrate.kept.items()):
            if status.phase == "starting":
                cloud.substrate.become(name, "ready", pid=1)
        for name in cloud.substrate.stopped[gone:]:
            cloud.substrate.become(name, "stopped")


def stands(cloud: SimCloud) -> dict[str, int]:
    pools = [status.labels["pool"] for status in cloud.substrate.kept.values() if status.phase == "ready"]
    return {pool: pools.count(pool) for pool in set(pools)}


def cut(cloud: SimCloud) -> RouteCut | None:
    (route,) = cloud.table.models
    return route.cut


@pytest.fixture
async def divided(tmp_path: Path) -> tuple[SimCloud, list[Gateway]]:
    """A cloud whose model has been divided for a good while, and both of its gateways."""
    cloud = started(tmp_path)
    await cloud.loop.round()
    gateways = [Gateway("a", cloud.clock.us + S), Gateway("b", cloud.clock.us + S)]
    await hours(cloud, gateways, 1_800 * S)
    assert stands(cloud) == {"l40s": 2, "h100": 1}
    assert cut(cloud)
    return cloud, gateways


async def restarted(cloud: SimCloud, home: Path) -> SimCloud:
    """The controller is killed and another one begins, as `Controller.run` does, before any gateway is heard."""
    cloud.clock.us += 3 * S
    again = started(home, cloud.clock, cloud)
    await again.adopt()
    again.loop.observe()
    again.loop.publish()
    return again


async def test_a_fresh_controllers_first_table_divides_as_the_last_one_did(divided, tmp_path):
    cloud, _ = divided
    before = msgspec.structs.replace(cloud.table, revision=0)
    again = await restarted(cloud, tmp_path)
    (was,), (now,) = before.models, again.table.models
    assert (now.cut, now.rate) == (was.cut, was.rate)


@pytest.mark.parametrize("later_us", [0, 300_000, 5 * S], ids=["at once", "a round later", "long after the first"])
async def test_histories_of_several_gateways_are_no_burst_to_the_parts(divided, tmp_path, later_us):
    """An hour's counts of each, heard one after the other: the fleet stays, and the division with it."""
    cloud, (first, second) = divided
    before, launched, border = stands(cloud), list(cloud.substrate.launched), cut(cloud)
    assert first.asked_us > 1_000 * S
    again = await restarted(cloud, tmp_path)
    await again.loop.round()
    first.tell(again)
    await again.after(later_us)
    second.tell(again)
    await again.after(250_000)
    stopped = list(again.substrate.stopped)
    await hours(again, [first, second], 1_800 * S)
    assert again.substrate.launched == launched
    assert again.substrate.stopped == stopped
    assert stands(again) == before
    assert cut(again).upto_tokens == border.upto_tokens


async def test_a_killed_gateway_takes_nothing_away_and_its_successor_brings_no_burst(divided):
    """Sums of living gateways would fall by its history, and what the other one did meanwhile be lost in that."""
    cloud, (first, second) = divided
    before, launched, asked = stands(cloud), list(cloud.substrate.launched), cloud.publisher.demand()["m@v1"]
    another = Gateway("c", cloud.clock.us)
    cloud.clock.us += 3 * S
    first.tell(cloud)
    assert cloud.publisher.demand()["m@v1"].asked_us == asked.asked_us
    assert cloud.publisher.demand()["m@v1"].begun == asked.begun
    await hours(cloud, [first, another], 1_200 * S)
    found = cloud.publisher.demand()["m@v1"]
    work_us = first.asked_us + another.asked_us + second.asked_us
    assert (found.asked_us, found.begun) == (work_us, first.answers + another.answers + second.answers)
    assert (stands(cloud), cloud.substrate.launched) == (before, launched)


async def test_a_fresh_controller_keeps_the_division_until_it_has_seen_enough(divided, tmp_path):
    """Gateways begin anew as well: thirty short prompts are no proof that there are no long ones."""
    cloud, _ = divided
    before, border = stands(cloud), cut(cloud)
    again = await restarted(cloud, tmp_path)
    gateway = Gateway("n", again.clock.us)
    for _ in range(40):
        gateway.asked_us += S
        gateway.sizes = added([gateway.sizes, {8: (2, 300, 200)}])
        again.clock.us += ROUND_US
        gateway.tell(again)
        await again.loop.round()
    assert cut(again).upto_tokens == border.upto_tokens
    assert "h100" in stands(again)
    assert before["h100"] == 1


async def test_what_cannot_be_read_is_told_and_chosen_anew_and_a_full_disk_stops_nothing(
    divided, tmp_path, monkeypatch
):
    cloud, gateways = divided

    def full(name: str, value: bytes) -> None:
        raise Transient("the disk is full")

    divisions = Divisions(cloud.store)
    with monkeypatch.context() as patched:
        patched.setattr(cloud.store, "put", full)
        divisions.keep(cloud.loop.choices)
        divisions.keep(cloud.loop.choices)
    divisions.keep(cloud.loop.choices)
    assert cloud.store.get("divided")
    cloud.store.put("divided", b"{nonsense")
    launched = len(cloud.substrate.launched)
    again = await restarted(cloud, tmp_path)
    assert cut(again) is None
    await hours(again, gateways, 1_200 * S)
    assert cut(again)
    assert stands(again) == {"l40s": 2, "h100": 1}
    assert len(cloud.substrate.launched) - launched <= 4  # it finds out by itself, and throws nothing away at once


async def test_a_pool_that_is_taken_away_ends_the_division(divided, tmp_path):
    """The successor is given another file than its predecessor: the model lives where it may."""
    cloud, gateways = divided
    again = await restarted(cloud, tmp_path)
    again.loop.catalog = two_pools("h100")
    again.declared = again.loop.catalog
    await hours(again, gateways, 600 * S)
    assert cut(again) is None
    assert stands(again).keys() == {"h100"}
    assert msgspec.json.decode(again.store.get("divided")) == {}
