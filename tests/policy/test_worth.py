"""Reasons tell money: what a replica costs where it is started, what it would cost elsewhere, what one saves by going."""

import msgspec

from headrace.policy.actions import Plan
from headrace.policy.plan import plan
from headrace.specs.catalog import PoolSpec
from headrace.state.fleet import Device, Replica
from tests.policy.cloud import GIB, S, asked, catalog, demand, device, fleet, running, spec

NOW = 100_000 * S


def pool(name: str, dollars: float | None) -> PoolSpec:
    price = None if dollars is None else round(dollars * 1e9)
    return PoolSpec(name=name, accelerator="cpu", count=1, memory_bytes=4 * GIB, price_nanousd_per_hour=price)


def made(*there: Device | Replica, prices: tuple[float | None, float | None] = (0.4, 0.8)) -> Plan:
    """One more of a model that takes a quarter of a device and may live in both pools."""
    wanted = catalog(spec(pools=("a", "b")), spec("other@v1", memory_bytes=4 * GIB))
    wanted = msgspec.structs.replace(wanted, pools=(pool("a", prices[0]), pool("b", prices[1])))
    return plan(wanted, fleet(*there), asked(demand(queued=1)), NOW)


def test_a_start_tells_what_it_costs_and_what_the_other_pool_would() -> None:
    (start,) = made(device(), device("d2", pool="b")).starts
    assert start.reason.endswith("(min 0, max 3); on a for $0.1000 an hour; b would cost $0.2000 an hour")


def test_a_start_elsewhere_tells_what_had_no_room() -> None:
    full = running(spec("other@v1", memory_bytes=4 * GIB), phase="starting")
    (start,) = made(device(), device("d2", pool="b"), full).starts
    assert start.reason.endswith("; on b for $0.2000 an hour; a would cost $0.1000 an hour, but has no room")


def test_no_price_is_not_zero() -> None:
    """Where nobody said what a device costs nothing is told of it."""
    (start,) = made(device(), device("d2", pool="b"), prices=(0.4, None)).starts
    assert start.reason.endswith("; b would cost nobody knows what")
    (start,) = made(device(), device("d2", pool="b"), prices=(None, 0.8)).starts
    assert start.reason.endswith("(min 0, max 3)")


def test_an_idle_stop_tells_what_staying_would_cost_and_one_for_another_why_it_is_this_one() -> None:
    wanted = msgspec.structs.replace(catalog(spec()), pools=(pool("a", 0.4),))
    (stop,) = plan(wanted, fleet(device(), running(spec())), asked(demand(last_us=10 * S)), NOW).stops
    assert stop.reason.endswith("idle_to_zero is 5 min; kept, it would cost $0.1000 an hour")
    lasting = spec(idle_to_zero_us=None)
    wanted = msgspec.structs.replace(catalog(lasting, spec("new@v1", memory_bytes=4 * GIB)), pools=(pool("a", 0.4),))
    calls = asked(demand(last_us=NOW - S), demand("new@v1", queued=1))
    (stop,) = plan(wanted, fleet(device(), running(lasting)), calls, NOW).stops
    assert "makes room: new@v1 needs 4.0 GiB" in stop.reason
    assert "it was chosen since its going costs least: $0.0" in stop.reason
