"""All rollouts of a cloud as one pure object: which requests count, and of which rollout."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.policy import in_force, sequential
from headrace.policy.actions import Hold
from headrace.policy.rollout import SAMPLES, SETTLE_US, needed
from headrace.policy.rollouts import BASELINE_US, CRAMPED_US, PATIENCE_US, How, Rollouts
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Fleet
from headrace.state.usage import Usage
from tests.policy.cloud import running
from tests.policy.test_tallying import CATALOG, V1, V2, S, row

OTHER = msgspec.structs.replace(V1, name="n")
WANTED = msgspec.structs.replace(CATALOG, models=(V1, msgspec.structs.replace(V2, weight=0), OTHER))
NOW_US = 1_000 * S


class Round:
    chosen: tuple[str, ...] = ()  # pools

    def __init__(self, *ready: ModelSpec, catalog: Catalog = WANTED, held: bool = False) -> None:
        self.fleet = Fleet(devices=(), replicas=tuple(running(one, at) for at, one in enumerate(ready)), at_us=0)
        self.holds, self.catalog = ((Hold(V2.key, "it needs more"),) if held else ()), catalog

    def fault(self, model: ModelSpec) -> str:
        return ""

    def stands(self, key: str) -> tuple[str, ...]:
        return self.chosen


def canary(*past: Usage, **how: Any) -> Rollouts:
    """One that has its first share since `NOW_US`."""
    found = Rollouts(lambda model: [one for one in past if one.model == model], {})
    found.take(found.begun(WANTED, V2, NOW_US, How(**how)))
    assert [one.phase for _, one in found.turn(Round(V1, V2), NOW_US)] == ["canary"]
    return found


def hear(rollouts: Rollouts, version: str, count: int, bad: int = 0) -> None:
    for number in range(count):
        failed: dict[str, Any] = {"status": 500, "outcome": "failed"} if number < bad else {}
        rollouts.heard(row(version=version, arrived_us=NOW_US + S, **failed))


@given(st.integers(0, 5), st.integers(0, 500))
def test_a_few_requests_decide_only_where_chance_cannot_have_done_it(bad: int, old: int) -> None:
    """One request never does, good ones take no step, and bad ones go back by the evidence alone, once the other version
    has what it would have by its share.
    """
    rollouts = canary()
    hear(rollouts, "v1", old)
    hear(rollouts, "v2", bad, bad)
    most = sequential.evidence(sequential.grown((), (old, 0), (bad, bad)))
    moved = rollouts.turn(Round(V1, V2), NOW_US + 2 * S)
    share = canary().all["m"].share
    assert bool(moved) == (most >= 600 and old >= (100 - share) // share)
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
    assert [one.share for _, one in rollouts.turn(Round(V1, V2), NOW_US + 2 * S)] == [25]
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
    assert [one.phase for _, one in rollouts.turn(Round(V1), NOW_US + PATIENCE_US)] == ["rolled_back"]


# --- as many replicas as the share needs ------------------------------------------------------------------------------


def least(rollouts: Rollouts) -> dict[str, int]:
    """The fewest replicas of each version in force."""
    roomy = tuple(
        msgspec.structs.replace(model, scaling=msgspec.structs.replace(model.scaling, max_replicas=12))
        for model in WANTED.models
    )
    found = in_force.catalog(msgspec.structs.replace(WANTED, models=roomy), rollouts.all)
    return {model.version: model.scaling.min_replicas for model in found.models if model.name == "m"}


def of_four() -> Rollouts:
    """A canary with its first share, where four replicas served before; two are needed for the next one."""
    big = msgspec.structs.replace(V2, scaling=msgspec.structs.replace(V2.scaling, max_replicas=12))
    found = Rollouts(lambda _: [], {})
    found.take(found.begun(WANTED, big, NOW_US, How(replicas=4)))
    found.turn(Round(V1, V2), NOW_US)
    return found


def test_no_step_outruns_the_start_of_the_replicas_that_it_needs() -> None:
    """They are asked for before, and waited for; where there is no room for them, or they never come, it goes on."""
    for enough, at_us, goes in (
        (Round(V1, V2), 2 * S, False),
        (Round(V1, V2, V2), 2 * S, True),
        (Round(V1, V2, held=True), 2 * S, True),
        (Round(V1, V2), PATIENCE_US, True),
    ):
        rollouts = of_four()
        assert least(rollouts) == {"v1": 1, "v2": 2}
        hear(rollouts, "v1", SAMPLES)
        hear(rollouts, "v2", SAMPLES)
        assert bool(rollouts.turn(enough, NOW_US + at_us)) == goes
        assert rollouts.all["m"].share == (25 if goes else 5)


@given(st.integers(1, 200), st.sampled_from([5, 25, 50, 100]))
def test_few_replicas_get_more_than_their_part_and_never_more_than_there_were(replicas: int, share: int) -> None:
    rollout = msgspec.structs.replace(of_four().all["m"], replicas=replicas, share=share, automatic=False)
    assert replicas * share / 100 <= needed(rollout) <= replicas or needed(rollout) == 1
    assert needed(msgspec.structs.replace(rollout, alone=True)) == 1


def test_while_it_lacks_replicas_for_its_share_its_pace_tells_nothing_and_errors_do() -> None:
    """And so it is for its backlog after that; what is not told does not count for a step."""
    rollouts = of_four()
    rollouts.take(msgspec.structs.replace(rollouts.all["m"], share=50, slow_us=S, changed_us=NOW_US))
    late: dict[str, Any] = {"version": "v2", "first_us": 2 * S}
    rollouts.turn(Round(V1, V2), NOW_US + S)
    rollouts.turn(Round(V1, V2), NOW_US + 10 * S)
    for after_us in (5 * S, 20 * S):
        rollouts.heard(row(**late, arrived_us=NOW_US + after_us))
    rollouts.heard(row(**late, arrived_us=NOW_US + 30 * S))
    rollouts.heard(row(**late, arrived_us=NOW_US + 6 * S, status=500, outcome="failed"))
    rollouts.turn(Round(V1, V2, V2, V2, V2), NOW_US + 40 * S)
    found = rollouts.all["m"]
    assert (found.new.requests, found.new.unpaced, found.new.slow, found.new.errors, found.step) == (4, 2, 2, 1, 2)


def test_without_room_for_its_share_the_other_version_keeps_what_its_own_needs() -> None:
    rollouts = of_four()
    rollouts.take(msgspec.structs.replace(rollouts.all["m"], share=50))
    full = Round(V1, V1, V1, V2, held=True)
    assert rollouts.turn(full, NOW_US + S) == []
    ((what, moved),) = rollouts.turn(full, NOW_US + S + CRAMPED_US)
    assert (what, moved.leave, moved.share) == ("step", 2, 50)
    assert "v1 keeps 2 of 3 replicas" in moved.reason
    assert rollouts.turn(Round(V1, V1, V2, V2, held=True), NOW_US + 3 * CRAMPED_US) == []


def test_a_promoted_one_keeps_its_replicas_until_its_own_work_tells() -> None:
    """A minute of the whole traffic lies behind it then."""
    rollouts = of_four()
    rollouts.take(rollouts.promoted("m", NOW_US))
    assert least(rollouts)["v2"] == 4
    assert rollouts.turn(Round(V2), NOW_US + SETTLE_US - 1) == []
    ((what, settled),) = rollouts.turn(Round(V2), NOW_US + SETTLE_US)
    assert (what, settled.phase, least(rollouts)["v2"]) == ("settled", "promoted", 0)
    assert rollouts.turn(Round(V2), NOW_US + 2 * SETTLE_US) == []


def test_a_divided_candidate_gets_its_share_when_both_parts_are_ready() -> None:
    """Else the long prompts would be compared on the pool of the short ones. Where nothing is on its way to the other
    pool there is no room for it, and it is not waited for.
    """
    seen = Round(V1, V2, V2)
    v1, near, far = (msgspec.structs.replace(one, pool=pool) for one, pool in zip(
        seen.fleet.replicas, ("near", "near", "far"), strict=True))  # fmt: skip
    starting = msgspec.structs.replace(far, phase="starting")
    for there, phase in (((v1, near, starting), "warming"), ((v1, near, far), "canary"), ((v1, near), "canary")):
        rollouts = Rollouts(lambda _: [], {})
        rollouts.take(rollouts.begun(WANTED, V2, NOW_US))
        seen.fleet, seen.chosen = Fleet(devices=(), replicas=there, at_us=0), ("near", "far")
        rollouts.turn(seen, NOW_US)
        assert rollouts.all["m"].phase == phase
