"""All rollouts of a cloud as one pure object: which requests count, and of which rollout."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.policy import sequential
from headrace.policy.rollout import SAMPLES
from headrace.policy.rollouts import BASELINE_US, PATIENCE_US, Rollouts
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Fleet
from headrace.state.usage import Usage
from tests.policy.cloud import running
from tests.policy.test_tallying import CATALOG, V1, V2, S, row

OTHER = msgspec.structs.replace(V1, name="n")
WANTED = msgspec.structs.replace(CATALOG, models=(V1, msgspec.structs.replace(V2, weight=0), OTHER))
NOW_US = 1_000 * S


class Round:
    def __init__(self, *ready: ModelSpec, catalog: Catalog = WANTED) -> None:
        self.fleet = Fleet(devices=(), replicas=tuple(running(one, at) for at, one in enumerate(ready)), at_us=0)
        self.holds, self.catalog = (), catalog

    def fault(self, model: ModelSpec) -> str:
        return ""


def canary(*past: Usage, **how: Any) -> Rollouts:
    """One that has its first share since `NOW_US`."""
    found = Rollouts(lambda model: [one for one in past if one.model == model], {})
    found.take(found.begun(WANTED, V2, NOW_US, **how))
    assert [one.phase for one in found.turn(Round(V1, V2), NOW_US)] == ["canary"]
    return found


def hear(rollouts: Rollouts, version: str, count: int, bad: int = 0) -> None:
    for number in range(count):
        failed: dict[str, Any] = {"status": 500, "outcome": "failed"} if number < bad else {}
        rollouts.heard(row(version=version, arrived_us=NOW_US + S, **failed))


@given(st.integers(0, 5), st.integers(0, 500))
def test_a_few_requests_decide_only_where_chance_cannot_have_done_it(bad: int, old: int) -> None:
    """One request never does, good ones take no step, and bad ones go back by the evidence alone."""
    rollouts = canary()
    hear(rollouts, "v1", old)
    hear(rollouts, "v2", bad, bad)
    most = sequential.evidence(sequential.grown((), (old, 0), (bad, bad)))
    moved = rollouts.turn(Round(V1, V2), NOW_US + 2 * S)
    assert bool(moved) == (most >= 600)
    if bad <= 1:
        assert not moved


@given(
    st.lists(
        st.tuples(st.sampled_from(["v1", "v2", "v3"]), st.sampled_from(["m", "n"]), st.integers(-5, 5)), max_size=40
    )
)
def test_only_requests_of_both_versions_that_came_since_the_step_count(rows: list[tuple[str, str, int]]) -> None:
    rollouts = canary()
    for version, model, after in rows:
        rollouts.heard(row(version=version, model=model, arrived_us=NOW_US + after))
    rollouts.turn(Round(V1, V2), NOW_US + S)
    mine = [version for version, model, after in rows if model == "m" and after >= 0]
    found = rollouts.all["m"]
    assert (found.old.requests, found.new.requests) == (mine.count("v1"), mine.count("v2"))


def test_it_is_told_once_what_changed_and_what_was_counted_is_forgotten() -> None:
    rollouts = canary()
    hear(rollouts, "v2", SAMPLES)
    assert [one.share for one in rollouts.turn(Round(V1, V2), NOW_US + 2 * S)] == [25]
    assert rollouts.turn(Round(V1, V2), NOW_US + 3 * S) == []
    assert rollouts.all["m"].new.requests == SAMPLES


def test_it_is_measured_by_what_the_version_before_did_in_a_week() -> None:
    past = [row(version="v1", arrived_us=NOW_US - BASELINE_US + at - 5, first_us=S) for at in range(30)]
    assert Rollouts(lambda _: past, {}).begun(WANTED, V2, NOW_US).slow_us == 2 * S
    assert Rollouts(lambda _: past[:24], {}).begun(WANTED, V2, NOW_US).slow_us == 0
    assert canary(*past, first=100).all["m"].old.requests == 25


def test_what_is_asked_for_changes_nothing_until_it_is_taken() -> None:
    """Who keeps it keeps it first."""
    rollouts = Rollouts(lambda _: [], {})
    made = rollouts.begun(WANTED, V2, NOW_US)
    assert not rollouts.all
    rollouts.take(made)
    assert rollouts.taken_back("m", NOW_US).phase == "rolled_back"
    assert rollouts.all["m"].phase == "warming"
    with pytest.raises(Invalid, match="no replica"):
        rollouts.promoted("m", NOW_US)


def test_one_that_never_starts_goes_back_when_patience_is_over() -> None:
    rollouts = Rollouts(lambda _: [], {})
    rollouts.take(rollouts.begun(WANTED, V2, NOW_US))
    assert rollouts.turn(Round(V1), NOW_US + PATIENCE_US - 1) == []
    assert [one.phase for one in rollouts.turn(Round(V1), NOW_US + PATIENCE_US)] == ["rolled_back"]
