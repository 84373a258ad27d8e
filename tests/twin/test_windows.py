"""Paid over least, window by window: the parts are the whole."""

from headrace.twin.outcome import outcome
from headrace.twin.windows import windows
from headrace.twin.world import World
from tests.twin.clouds import made, steady

S = 1_000_000


def test_windows_add_up_to_what_was_paid():
    """Leases that end after the trace are paid on, outside of every window."""
    world = World(made(steady(12, 3600), boot_us=30 * S, warm={"big@v1": 2}))
    world.run()
    found = windows(world, 900 * S, missed=0.01)
    assert [(one.from_us, one.to_us) for one in found][:2] == [(0, 900 * S), (900 * S, 1800 * S)]
    assert sum(one.requests for one in found) == len(world.scenario.trace)
    whole = outcome(world, "x")
    assert 0 <= whole.cost_nanousd - sum(one.paid_nanousd for one in found) <= 0.02 * whole.cost_nanousd
    assert all(one.ratio_ppm > 1_000_000 for one in found)
    assert all(one.whole for one in found)
    kept = sum(one.kept_ppm * one.requests for one in found) / len(world.scenario.trace)
    assert abs(kept - whole.models[0].ttft.kept_ppm) < 10


def test_a_billing_minimum_is_paid_in_its_slots():
    """A replica that is stopped early is paid to the end of its minimum."""
    world = World(made(steady(2, 60), boot_us=10 * S, billing_min_us=300 * S))
    world.run()
    (one,) = windows(world, 3600 * S, missed=0.01)
    assert one.paid_nanousd >= 55 * S * 3_500_000_000 // 3_600_000_000
