"""A rollout: one step at a time, never without samples, and back with a reason."""

import msgspec
import pytest

from headrace.policy import rollout as policy
from headrace.policy.rollout import SAMPLES, Seen, look
from headrace.specs.catalog import EngineSpec, ModelSpec
from headrace.state.rollout import Rollout, Tally

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
