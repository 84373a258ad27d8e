"""Announced work: kept by key and model, taken off as it comes, forgotten in time; told to the slow brain."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.expected import KEPT_MAX, PATH, Expected
from headrace.state.demand import Demand, total
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import HI, replica, run, world

QUIET = Demand(model="m", version="v1", window_us=1)


def expected(found: Expected, now_us: int) -> int:
    return found.over([QUIET], now_us)[0].expected


def test_what_is_announced_is_taken_off_as_it_comes():
    """By each key for itself; what is told again takes the place of what was told."""
    found = Expected()
    found.tell("a", "m@v1", "", 3, 100)
    found.tell("b", "m@v1", "", 2, 200)
    found.tell("a", "other@v1", "", 9, 200)
    assert expected(found, 50) == 5
    found.came("a", "m@v1", "RUN/STEP")
    found.tell("b", "m@v1", "", 1, 200)
    assert expected(found, 50) == 3
    assert expected(found, 100) == 1
    found.came("b", "m@v1", "")
    found.came("b", "m@v1", "")
    assert expected(found, 100) == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(1, 9)), max_size=30))
def test_nothing_is_expected_for_ever(told):
    """Whatever was announced and came, nothing is left once every time is over."""
    found = Expected()
    for key, requests, until in told:
        found.tell(key, "m@v1", "r", requests, until)
        found.came(key, "m@v1", "r/s")
        assert 0 <= expected(found, 0) <= 8
    assert expected(found, 9) == 0
    assert not found.any


def test_announcements_are_bounded():
    """A worker keeps so many and no more."""
    found = Expected()
    for number in range(KEPT_MAX + 10):
        found.tell(f"k{number}", "m@v1", "", 1, 10)
    assert expected(found, 0) == KEPT_MAX
    found.tell("k1", "m@v1", "", 5, 10)
    assert expected(found, 0) == KEPT_MAX + 4


def test_runs_of_one_key_are_told_apart():
    """What one announces takes nothing from another; a request is taken off its own run."""
    found = Expected()
    found.tell("a", "m@v1", "run_1", 2, 100)
    found.tell("a", "m@v1", "run_2", 1, 100)
    found.came("a", "m@v1", "run_1/draw[0]")
    assert expected(found, 50) == 2
    found.tell("a", "m@v1", "run_1", 0, 100)
    found.came("a", "m@v1", "run_1/draw[1]")
    assert expected(found, 50) == 1


def test_workers_add_up():
    """What each was told."""
    parts = [Demand(model="m", version="v1", window_us=1, expected=n) for n in (1, 2)]
    assert total(parts).expected == 3


def test_an_announcement_reaches_the_slow_brain_and_ends_with_its_request(tmp_path: Path):
    """Of a model that this key may use, and of no other."""

    async def main() -> None:
        async with StubUpstream(tmp_path / "up", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as found:
            model = HI["model"]
            told = await found.ask({"model": model, "requests": 1, "within_s": 60}, PATH)
            assert (told.status, told.json) == (200, {"model": model, "requests": 1, "within_s": 60})
            assert [demand.expected for demand in found.worker._report().demand if demand.model == model] == [1]
            await found.ask(HI)
            assert [demand.expected for demand in found.worker._report().demand if demand.model == model] == [0]
            refused = await found.ask({"model": "nobody", "requests": 1}, PATH)
            assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
            much = await found.ask({"model": model, "requests": 10**9}, PATH)
            assert (much.status, much.json["error"]["param"]) == (400, "requests")

    run(main)
