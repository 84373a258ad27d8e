"""What one request says of a rollout: its own version's doing, and nothing else."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy import tallying
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, PoolSpec
from headrace.state.rollout import Rollout, Tally
from headrace.state.usage import Usage
from headrace.units import US_PER_HOUR

S = 1_000_000
FIELDS: dict[str, Any] = {
    "name": "m", "weight": 1, "task": "chat", "source": "/w", "engine": EngineSpec(kind="llama_cpp", slots=4),
    "memory_bytes": 1, "pools": ("p",),
}  # fmt: skip
V1, V2 = ModelSpec(version="v1", **FIELDS), ModelSpec(version="v2", **FIELDS)
POOL = PoolSpec(name="p", accelerator="cpu", count=1, memory_bytes=9, price_nanousd_per_hour=4 * US_PER_HOUR)
CATALOG = Catalog(pools=(POOL,), models=(V1, V2), tenants=())
ROLLOUT = Rollout(model="m", stable="v1", candidate="v2", spec=V2, before={"v1": 100}, began_us=0, dear_nanousd=10**9)


def row(**more: Any) -> Usage:
    fields: dict[str, Any] = {
        "request": "r", "epoch": "g", "tenant": "t", "key": "k", "model": "m", "task": "chat", "outcome": "finished",
        "status": 200, "arrived_us": 9 * S, "ended_us": 10 * S, "version": "v2", "input_tokens": 5, "output_tokens": 10,
        "first_us": S, "busy_us": 1000,
    }  # fmt: skip
    return Usage(**(fields | more))


def test_a_slot_of_four_costs_a_quarter_of_its_device() -> None:
    """A nano-dollar a microsecond and slot, by the slots of the stable version for both."""
    smaller = msgspec.structs.replace(V2, engine=EngineSpec(kind="llama_cpp", slots=1))
    for version in (V2, smaller):
        catalog = msgspec.structs.replace(CATALOG, models=(V1, version))
        assert tallying.tally(row(), ROLLOUT, catalog).cost_nanousd == 1000


def test_late_is_what_missed_the_objective_or_took_twice_as_long_as_before() -> None:
    paced = msgspec.structs.replace(ROLLOUT, slow_us=S)
    assert not tallying.tally(row(), paced, CATALOG).slow
    assert tallying.tally(row(first_us=S + 1), paced, CATALOG).slow
    assert not tallying.tally(row(first_us=S + 1, queue_us=1), paced, CATALOG).slow
    assert tallying.tally(row(first_us=3 * S, queue_us=3 * S), ROLLOUT, CATALOG).slow
    alone = msgspec.structs.replace(ROLLOUT, alone=True)
    assert not tallying.tally(row(first_us=3 * S, queue_us=3 * S), alone, CATALOG).slow


@given(
    st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.booleans(), st.sampled_from([200, 429, 500])
)
def test_a_request_counts_once_for_each_accusation(first: int, queue: int, busy: int, cold: bool, status: int) -> None:
    """Only errors of the server are errors, and who waited for a start is not asked of pace and cost."""
    outcome = "finished" if status == 200 else "failed"
    found = tallying.tally(
        row(first_us=first, queue_us=queue, busy_us=busy, cold=cold, status=status, outcome=outcome), ROLLOUT, CATALOG
    )
    assert found.requests == 1
    assert found.errors == (status == 500)
    assert max(found.slow, found.dear, found.unpaced) <= 1
    assert found.slow >= found.errors
    if cold:
        assert (found.slow, found.dear, found.unpaced) == (found.errors, 0, 1 - found.errors)


@given(st.lists(st.integers(0, 5 * S), max_size=60))
def test_the_pace_to_keep_is_twice_what_most_took_and_told_by_twenty_at_least(took: list[int]) -> None:
    rows = [row(first_us=us) for us in took]
    told = sorted(us for us in took if us)
    allowed = tallying.slow_us(rows)
    if len(told) < tallying.BASELINE_LEAST:
        assert allowed == 0
    else:
        assert 2 * told[0] <= allowed <= 2 * told[-1]
        assert sum(2 * us > allowed for us in told) <= len(told) // 20


def test_the_cost_to_keep_is_a_quarter_more_than_it_was() -> None:
    rows = [row(busy_us=1000)] * 20
    assert tallying.dear_nanousd(CATALOG, V1, rows) == 125 * 1000
    assert tallying.dear_nanousd(CATALOG, V1, rows[1:]) == 0
    assert tallying.total(rows, ROLLOUT, CATALOG) == Tally(
        requests=20, ttft_us=20 * S, ttfts=20, tokens=200, cost_nanousd=20_000
    )
