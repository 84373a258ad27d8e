"""The last day beside perfect foresight: real store, real solver in its own process, figures that can be worked out."""

from pathlib import Path

import msgspec
import pytest

from headrace import assembly
from headrace.control.hindsight import SLOT_US, Hindsights
from headrace.settings import Settings
from headrace.specs.catalog import Catalog
from headrace.state.fleet import Lease
from headrace.state.usage import Usage
from headrace.state.work import WorkRate
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import GIB, S, SimClock, catalog, model

pytestmark = pytest.mark.anyio
RATE = WorkRate(fixed_ns=10 * S * 1_000)  # ten seconds of a replica a request
HOUR_NANOUSD = 3_600_000_000


def priced() -> Catalog:
    """One model that takes a whole device, at a millionth of a dollar a millisecond."""
    found = catalog(model())
    pools = tuple(
        msgspec.structs.replace(pool, price_nanousd_per_hour=HOUR_NANOUSD, memory_bytes=found.models[0].memory_bytes)
        for pool in found.pools
    )
    return msgspec.structs.replace(found, pools=pools)


def ended(number: int, at_us: int, **more: object) -> Usage:
    fields = {"outcome": "finished", "status": 200, "first_us": S, "version": "v1", "tenant": "t", **more}
    return Usage(
        request=str(number), epoch="g", key="k", model="m", task="chat", arrived_us=at_us, ended_us=at_us,
        **fields,
    )  # fmt: skip


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


def hindsights(
    home: Path, clock: SimClock, rate: WorkRate | None = RATE, **able: float
) -> tuple[SqliteStore, Hindsights]:
    home.mkdir(exist_ok=True)
    store = SqliteStore(home / "db")
    argv = assembly.command(Settings(home=home), "optimum")
    return store, Hindsights(store, argv, lambda _: rate, lambda _: able or {"local": 1.0}, clock)


async def test_an_hour_of_which_half_was_needed_cost_twice_the_least(tmp_path: Path, clock: SimClock) -> None:
    """One replica an hour; three requests of ten seconds in each minute: half an hour of work."""
    store, found = hindsights(tmp_path, clock)
    wanted, began_us = priced(), clock.now_us()
    lease = Lease(
        replica="r", incarnation="i", model="m", version="v1", pool=wanted.pools[0].name, node="n", device="d",
        memory_bytes=GIB, share_ppm=1_000_000, started_us=began_us,
    )  # fmt: skip
    store.lease_put(lease)
    clock.us += 60 * SLOT_US
    rows = [ended(minute * 3 + n, began_us + minute * SLOT_US + n * S) for minute in range(60) for n in range(3)]
    late = msgspec.structs.replace(rows[0], first_us=60 * S)
    shadow = ended(9_999, began_us, tenant="~shadow")
    store.usage_add([late, *rows[1:], shadow], {})
    await found.turn(wanted, lambda _: 0)
    assert found.last is not None
    assert found.last.paid_nanousd == HOUR_NANOUSD
    assert abs(found.last.optimum_nanousd - HOUR_NANOUSD / 2) < HOUR_NANOUSD / 50  # a hundredth may be left undone
    assert 1_960_000 < found.last.ratio_ppm < 2_080_000
    assert 990_000 < found.last.on_time_ppm < 1_000_000
    assert found.last.models == found.last.whole == ("m@v1",)


async def test_too_little_time_or_work_that_nobody_knows_tells_nothing(tmp_path: Path, clock: SimClock) -> None:
    store, found = hindsights(tmp_path, clock)
    await found.turn(priced(), lambda _: 0)
    assert found.last is None
    store, found = hindsights(tmp_path / "other", clock, rate=None)
    clock.us += 60 * SLOT_US
    store.usage_add([ended(1, clock.now_us())], {})
    await found.turn(priced(), lambda _: 0)
    assert found.last is None


async def test_versions_that_share_the_traffic_are_one_model(tmp_path: Path, clock: SimClock) -> None:
    """Neither their work nor what was paid counts twice."""
    store, found = hindsights(tmp_path, clock)
    one = priced()
    first = one.models[0]
    second = msgspec.structs.replace(first, version="v2", weight=first.weight - 1)
    wanted, began_us = msgspec.structs.replace(one, models=(first, second)), clock.now_us()
    lease = Lease(
        replica="r", incarnation="i", model="m", version="v2", pool="local", node="n", device="d",
        memory_bytes=GIB, share_ppm=1_000_000, started_us=began_us,
    )  # fmt: skip
    store.lease_put(lease)
    clock.us += 60 * SLOT_US
    store.usage_add([ended(minute, began_us + minute * SLOT_US) for minute in range(60)], {})
    await found.turn(wanted, lambda _: 0)
    assert found.last is not None
    assert (found.last.paid_nanousd, found.last.models) == (HOUR_NANOUSD, ("m@v1",))


async def test_a_model_that_may_live_elsewhere_is_held_against_the_cheapest(tmp_path: Path, clock: SimClock) -> None:
    """The other pool costs half and does as much: the hour cost four times the least, though it was paid on the first."""
    store, found = hindsights(tmp_path, clock, local=1.0, other=1.0)
    one = priced()
    other = msgspec.structs.replace(one.pools[0], name="other", price_nanousd_per_hour=HOUR_NANOUSD // 2)
    both = tuple(msgspec.structs.replace(model, pools=("local", "other")) for model in one.models)
    wanted, began_us = msgspec.structs.replace(one, pools=(*one.pools, other), models=both), clock.now_us()
    lease = Lease(
        replica="r", incarnation="i", model="m", version="v1", pool="local", node="n", device="d",
        memory_bytes=GIB, share_ppm=1_000_000, started_us=began_us,
    )  # fmt: skip
    store.lease_put(lease)
    clock.us += 60 * SLOT_US
    rows = [ended(minute * 3 + n, began_us + minute * SLOT_US + n * S) for minute in range(60) for n in range(3)]
    store.usage_add(rows, {})
    await found.turn(wanted, lambda _: 0)
    assert found.last is not None
    assert 3_920_000 < found.last.ratio_ppm < 4_160_000
    assert found.last.whole == ()  # of several pools replicas may be fractions
