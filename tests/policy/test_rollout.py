"""A rollout: one step at a time, never without samples, and back with a reason."""

import random

import msgspec
import pytest

from headrace.policy import rollout as policy
from headrace.policy.rollout import SAMPLES, Seen, look
from headrace.specs.catalog import EngineSpec, ModelSpec
from headrace.state.rollout import Rollout, Tally
from headrace.units import US_PER_S as S

SPEC = ModelSpec(
    name="m", version="v2", weight=1, task="chat", source="/w", engine=EngineSpec(kind="llama_cpp"), memory_bytes=1,
    pools=("cpu",),
)  # fmt: skip
NEW = Rollout(model="m", stable="v1", candidate="v2", spec=SPEC, before={"v1": 100}, began_us=0)
GOOD = Seen(ready=True, old=Tally(requests=SAMPLES), new=Tally(requests=SAMPLES))


def test_nothing_is_asked_of_it_before_a_replica_is_ready() -> None:
    assert look(NEW, Seen(ready=False), 1) == NEW
    assert policy.weights(NEW) == {"v1": 100, "v2": 0}
    assert policy.weights(look(NEW, Seen(ready=True), 1)) == {"v1": 95, "v2": 5}


def test_a_good_version_takes_every_step_and_is_promoted() -> None:
    shares, rollout = [], NEW
    for at in range(6):
        rollout = look(rollout, GOOD, at)
        shares.append(rollout.share)
    assert shares == [5, 25, 50, 100, 100, 100]
    assert rollout.phase == "promoted"
    assert policy.weights(rollout) == {"v1": 0, "v2": 100}


def test_no_step_is_taken_with_too_few_samples_nor_without_the_operator_who_said_so() -> None:
    canary = look(NEW, Seen(ready=True), 1)
    few = Seen(ready=True, new=Tally(requests=SAMPLES - 1))
    assert look(canary, few, 2).share == 5
    manual = msgspec.structs.replace(canary, automatic=False)
    assert look(manual, GOOD, 2).share == 5
    assert "operator" in policy.verdict(manual)


@pytest.mark.parametrize("bad", ["errors", "slow", "dear"])
def test_a_worse_one_goes_back_and_says_why(bad: str) -> None:
    worse = Seen(ready=True, old=Tally(requests=95), new=Tally(**{"requests": 5, bad: 5}))
    rollout = look(look(NEW, Seen(ready=True), 1), worse, 2)
    assert rollout.phase == "rolled_back"
    assert "5 of 5 with v2, 0 of 95 with v1" in rollout.reason
    assert policy.weights(rollout) == {"v1": 100}


def test_one_that_cannot_start_goes_back_having_served_nobody() -> None:
    rollout = look(NEW, Seen(ready=False, fault="its weights are broken"), 2)
    assert rollout.phase == "rolled_back"
    assert "its weights are broken" in rollout.reason
    assert look(NEW, Seen(ready=False, patience_us=5), 5).phase == "rolled_back"


def test_doubt_holds_it_where_it_is() -> None:
    canary = look(NEW, Seen(ready=True), 1)
    some = Seen(ready=True, old=Tally(requests=950), new=Tally(requests=50, errors=2))
    held = look(canary, some, 2)
    assert (held.phase, held.share) == ("canary", 5)
    assert "in doubt" in policy.verdict(held)


def test_what_is_decided_stays_decided() -> None:
    done = policy.whole(NEW, "an operator", 1)
    assert look(done, Seen(ready=False, fault="x"), 2) is done


def test_over_all_its_steps_an_equal_version_goes_back_no_more_often_than_promised() -> None:
    """One in a hundred, by all three accusations, beside the other and after it; three standard deviations."""
    wrong = promoted = 0
    for seed in range(200):
        rng, rollout, rate = random.Random(seed), look(NEW, Seen(ready=True), 1), (0.01, 0.1, 0.3)[seed % 3]
        rates, at = {"errors": rate, "slow": rate, "dear": rate}, 2
        while rollout.under_way and at < 1_000:
            new = sum(rng.random() < rollout.share / 100 for _ in range(40))
            batch = Seen(ready=True, old=drawn(rng, 40 - new, rates), new=drawn(rng, new, rates))
            rollout, at = look(rollout, batch, at), at + 1
        wrong += rollout.phase == "rolled_back"
        promoted += rollout.phase == "promoted"
    assert wrong <= 2 + 3 * 1.5
    assert promoted >= 190


def trickled(seed: int, before: float, after: float, most: int) -> Rollout:
    """Where a version ends whose requests end one by one, most of them between two looks with none of the other."""
    rng, rollout = random.Random(seed), look(NEW, Seen(ready=True), 1)
    while rollout.under_way and rollout.new.requests < most and rollout.share < 100:
        new = int(rng.random() < rollout.share / 100)
        one = Tally(requests=1, errors=int(rng.random() < (after if new else before)))
        rollout = look(rollout, Seen(ready=True, new=one) if new else Seen(ready=True, old=one), 2)
    return rollout


def test_where_little_is_asked_a_version_that_only_fails_goes_back_as_soon_as_elsewhere() -> None:
    """Requests that end one by one are compared with those before and after them, not with nobody."""
    ends = [trickled(seed, 0.01, 1.0, 100) for seed in range(100)]
    assert {one.phase for one in ends} == {"rolled_back"}
    assert max(one.new.requests for one in ends) <= 9
    most = [trickled(seed, 0.01, 0.3, 60) for seed in range(100)]
    assert sum(one.phase == "rolled_back" for one in most) >= 90


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4])
def test_where_little_is_asked_an_equal_version_goes_back_no_more_often_than_promised(rate: float) -> None:
    ends = [trickled(seed, rate, rate, 400) for seed in range(300)]
    assert sum(one.phase == "rolled_back" for one in ends) <= 3 + 3 * 1.7


# --- without a spare device: judged by what the version before had done ---------------------------------------------


def alone(old: Tally) -> Rollout:
    """The new version has the only place, and is ready."""
    made = policy.without_room(NEW, 1, old, "it needs more", 1)
    return look(made, Seen(ready=True), 1)


def drawn(rng: random.Random, count: int, rates: dict[str, float]) -> Tally:
    """So many requests, each with its own chance of each fault."""
    return Tally(
        requests=count, **{what: sum(rng.random() < rate for _ in range(count)) for what, rate in rates.items()}
    )


def test_alone_a_busy_second_decides_nothing() -> None:
    """All of 60 requests of a second are slow and dear: not by that; ten seconds later, if it goes on so, it goes back."""
    rollout = alone(Tally(requests=400, slow=8, dear=8))
    bad = Seen(ready=True, new=Tally(requests=60, slow=60, dear=60))
    busy = look(rollout, bad, S)
    assert (busy.phase, policy.doubt(busy) > 600) == ("canary", True)
    calm = look(busy, Seen(ready=True, new=Tally(requests=2_000)), 12 * S)
    assert calm.phase == "promoted"
    assert look(busy, bad, 12 * S).phase == "rolled_back"


def ends(seed: int, served: int, before: dict[str, float], after: dict[str, float], batch: int = 3) -> tuple[str, int]:
    """Where a version that goes alone ends, and after how many of its requests."""
    rng = random.Random(seed)
    rollout, now_us = alone(drawn(rng, served, before)), 2
    while rollout.under_way and rollout.new.requests < 2_000:
        now_us += S
        rollout = look(rollout, Seen(ready=True, new=drawn(rng, rng.randint(0, batch), after)), now_us)
    return rollout.phase, rollout.new.requests


@pytest.mark.parametrize("served", [20, 100, 400])
@pytest.mark.parametrize("rate", [0.003, 0.05, 0.4])
def test_alone_an_equal_version_goes_back_no_more_often_than_promised(served: int, rate: float) -> None:
    """One in a hundred; 400 rollouts and three standard deviations."""
    rates = {"errors": rate, "slow": rate, "dear": rate}
    phases = [ends(seed, served, rates, rates)[0] for seed in range(400)]
    assert phases.count("rolled_back") <= 4 + 3 * 2
    assert phases.count("promoted") >= 385


@pytest.mark.parametrize(
    ("what", "before", "after", "within", "of_hundred"),
    [
        ("errors", 0.01, 1.0, 9, 100),
        ("slow", 0.02, 1.0, 55, 100),
        ("dear", 0.02, 0.9, 55, 95),
        ("errors", 0.01, 0.3, 55, 97),
        ("slow", 0.05, 0.5, 55, 100),
    ],
)
def test_alone_a_worse_version_goes_back_soon(
    what: str, before: float, after: float, within: int, of_hundred: int
) -> None:
    found = [ends(seed, 400, {what: before}, {what: after}) for seed in range(100)]
    assert sum(phase == "rolled_back" and count <= within for phase, count in found) >= of_hundred


def test_alone_a_busier_machine_makes_a_third_dear_and_sends_nothing_back() -> None:
    """Seen of an equal version beside other programs: one in three was dear, one in sixteen before."""
    assert {ends(seed, 400, {"dear": 0.06}, {"dear": 0.35})[0] for seed in range(100)} == {"promoted"}


def test_alone_with_no_past_to_compare_a_version_that_only_fails_goes_back_all_the_same() -> None:
    phase, count = ends(1, 0, {}, {"errors": 1.0, "slow": 1.0})
    assert (phase, count <= 15) == ("rolled_back", True)
    assert ends(1, 0, {}, {})[0] == "promoted"


def test_alone_the_backlog_of_the_start_says_nothing_of_the_pace_but_errors_count() -> None:
    made = policy.without_room(NEW, 1, Tally(requests=400), "it needs more", 1_000)
    ready = look(made, Seen(ready=True), 31_000)
    assert ready.calm_us == 31_000 + policy.BACKLOG * 30_000
    waited = Seen(ready=True, new=Tally(requests=60, unpaced=60))
    after = look(ready, waited, 32_000)
    assert (after.phase, after.step) == ("canary", 0)
    failing = Seen(ready=True, new=Tally(requests=60, unpaced=30, errors=30, slow=30))
    assert look(ready, failing, 32_000).phase == "rolled_back"


def test_all_at_once_is_judged_by_the_past_too() -> None:
    whole = msgspec.structs.replace(NEW, first=100, old=Tally(requests=400))
    whole = look(whole, Seen(ready=True), 1)
    assert (whole.share, whole.solo) == (100, True)
    gone = look(whole, Seen(ready=True, new=Tally(requests=6, errors=6, slow=6)), 2)
    assert gone.phase == "rolled_back"
    assert "6 of 6 with v2, 0 of 400 with v1, before" in gone.reason
