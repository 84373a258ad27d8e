"""Who goes to sleep for another: whose going costs least, by what is known of their uses."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.plan import plan
from headrace.policy.planning import Learned, Work
from headrace.policy.room import regret
from headrace.specs.catalog import ModelSpec, PoolSpec
from headrace.state.gaps import Gaps
from tests.policy.cloud import GIB, S, asked, catalog, demand, device, fleet, running, spec

NOW = 100_000 * S
PRICED = PoolSpec(name="a", accelerator="x", count=1, memory_bytes=8 * GIB, price_nanousd_per_hour=3_600_000_000)


def learned(gap_s: int) -> Gaps:
    gaps = Gaps()
    for _ in range(20):
        gaps = gaps.seen(gap_s * S)
    return gaps


def gone(*models: ModelSpec, idle_s: dict[str, int], known: Learned) -> list[str]:
    """Who is stopped on a full device for a model that is asked for and asleep."""
    new = spec("new@v1", memory_bytes=2 * GIB)
    wanted = msgspec.structs.replace(catalog(new, *models), pools=(PRICED,))
    size = sum(model.memory_bytes for model in models) // GIB
    there = fleet(device(gib=size), *(running(model) for model in models))
    calls = [demand(model.key, last_us=NOW - idle_s[model.key] * S) for model in models]
    made = plan(wanted, there, asked(demand("new@v1", queued=1), *calls), NOW, learned=known)
    return sorted(stop.replica.partition("-")[0] for stop in made.stops)


def two(**changed: object) -> list[ModelSpec]:
    return [spec(f"{name}@v1", memory_bytes=2 * GIB, idle_to_zero_us=None, **changed) for name in ("x", "y")]


def test_who_is_due_to_be_asked_stays_though_it_was_used_longer_ago() -> None:
    """x comes every minute and was used 50 s ago; y comes every ten hours and was used just now."""
    known = Learned({}, {"x@v1": learned(60), "y@v1": learned(36_000)})
    assert gone(*two(), idle_s={"x@v1": 50, "y@v1": 2}, known=known) == ["y"]
    assert gone(*two(), idle_s={"x@v1": 50, "y@v1": 2}, known=Learned()) == ["x"]


def test_who_takes_long_to_wake_stays_and_of_two_alike_the_larger_goes() -> None:
    slow = Learned({"x@v1": 300 * S, "y@v1": 3 * S})
    assert gone(*two(), idle_s={"x@v1": 50, "y@v1": 40}, known=slow) == ["y"]
    large = spec("x@v1", memory_bytes=4 * GIB, idle_to_zero_us=None)
    small = [spec(f"{name}@v1", memory_bytes=GIB, idle_to_zero_us=None) for name in ("y", "z")]
    idle = {"x@v1": 50, "y@v1": 50, "z@v1": 50}
    assert gone(large, *small, idle_s=idle, known=Learned()) == ["x"]


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.sampled_from([None, 5, 60, 3_600]))
def test_regret_is_never_negative_nor_more_than_a_wake_and_falls_with_idleness(
    first_s: int, more_s: int, gap_s: int | None
) -> None:
    """Where few gaps are known; where many are, it is bounded all the same."""
    (model, _), gaps = two(), {} if gap_s is None else {"x@v1": learned(gap_s)}
    wanted = msgspec.structs.replace(catalog(model), pools=(PRICED,))
    found = []
    for idle_s in (first_s, first_s + more_s):
        calls = asked(demand("x@v1", last_us=NOW - idle_s * S))
        work = Work(wanted, fleet(device(), running(model)), calls, NOW, Learned({"x@v1": 10 * S}, gaps))
        found.append(regret(work, running(model)))
    wake = 10 * (1_000_000 * 2 / 8 + model.scaling.wait_nanousd_per_s)
    assert all(0 <= one <= wake for one in found)
    assert gaps or found[1] < found[0]
