"""Rollouts as control keeps them: begun once, judged by usage records, found again by the next controller."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.control import catalogs
from headrace.control.records import Records
from headrace.control.rollouts import Rollouts
from headrace.errors import Invalid, Transient
from headrace.policy import rollout as policy
from headrace.policy.actions import Hold
from headrace.policy.rollouts import CRAMPED_US, How
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Fleet
from headrace.state.likeness import Likeness
from headrace.state.usage import Usage
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import S, SimClock, catalog, model
from tests.policy.cloud import running

V1, V2 = model(), model(version="v2", weight=0)
WANTED = catalog(V1, V2)


class Round:
    """A loop's round that is what a test says."""

    def __init__(self, *ready: ModelSpec, holds: tuple[Hold, ...] = ()) -> None:
        self.fleet = Fleet(
            devices=(), replicas=tuple(running(one, number) for number, one in enumerate(ready)), at_us=0
        )
        self.holds, self.catalog, self.faults = holds, WANTED, dict[str, str]()

    def fault(self, spec: ModelSpec) -> str:
        return self.faults.get(spec.key, "")

    def stands(self, key: str) -> tuple[str, ...]:
        return ()


class Kept:
    """A store and its rollouts."""

    def __init__(self, home: Path) -> None:
        self.store, self.clock = SqliteStore(home / "db"), SimClock()
        self.open()

    def open(self) -> Rollouts:
        """The next controller, after the last one has written what it did."""
        if hasattr(self, "records"):
            self.records.flush()
        self.records = Records(self.store, self.clock)
        self.rollouts = Rollouts(self.store, self.records, self.clock)
        return self.rollouts


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def ended(number: int, version: str, at_us: int, **more: Any) -> Usage:
    fields = {"outcome": "finished", "status": 200, "input_tokens": 9, "output_tokens": 9, "busy_us": 9000, **more}
    return Usage(
        request=f"{version}-{number}", epoch="g", tenant="t", key="k", model=V1.name, task="chat",
        arrived_us=at_us, ended_us=at_us + 1, version=version, **fields,
    )  # fmt: skip


def serve(kept: Kept, version: str, count: int, **more: Any) -> None:
    kept.clock.us += S
    for number in range(count):
        kept.rollouts.heard(ended(number, version, kept.clock.now_us(), **more))


def test_it_goes_from_step_to_step_and_the_next_controller_goes_on(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2)
    seen = Round(V1, V2)
    assert kept.rollouts.turn(seen)
    for share in (25, 50):
        serve(kept, "v1", 50)
        serve(kept, "v2", 50)
        assert kept.rollouts.turn(seen)
        assert kept.open().all[V1.name].share == share
    serve(kept, "v2", 50)
    kept.rollouts.turn(seen)
    serve(kept, "v2", 50)
    kept.rollouts.turn(seen)
    assert kept.open().all[V1.name].phase == "promoted"
    kinds = [decision.kind for decision in kept.store.decisions(limit=10)]
    assert kinds == ["rollout.promoted", *["rollout.step"] * 4, "rollout.deploy"]


def test_counts_of_before_the_step_do_not_count(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2)
    kept.rollouts.turn(Round(V1, V2))
    kept.rollouts.heard(ended(1, "v2", kept.clock.now_us() - S))
    kept.rollouts.turn(Round(V1, V2))
    assert kept.rollouts.all[V1.name].new.requests == 0


def test_what_a_client_did_wrong_is_no_error_of_the_version(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2)
    kept.rollouts.turn(Round(V1, V2))
    serve(kept, "v2", 5, outcome="failed", status=400)
    serve(kept, "v2", 5, outcome="cancelled", status=499)
    kept.rollouts.turn(Round(V1, V2))
    assert kept.rollouts.all[V1.name].new.errors == 0
    serve(kept, "v2", 40, outcome="failed", status=502)
    serve(kept, "v1", 40)
    kept.rollouts.turn(Round(V1, V2))
    assert kept.rollouts.all[V1.name].phase == "rolled_back"


def test_who_waited_for_the_start_says_nothing_of_the_pace(kept: Kept) -> None:
    """Held while the replica started, and sent to it together; an error of theirs is an error all the same."""
    kept.rollouts.deploy(WANTED, V2)
    kept.rollouts.turn(Round(V1, V2))
    late = {"first_us": 60 * S, "busy_us": 60 * S}
    serve(kept, "v2", 8, cold=True, **late)
    serve(kept, "v2", 2, **late)
    serve(kept, "v2", 3, cold=True, outcome="failed", status=502)
    kept.rollouts.turn(Round(V1, V2))
    seen = kept.rollouts.all[V1.name].new
    assert (seen.requests, seen.slow, seen.errors) == (13, 5, 3)


def test_no_room_for_long_enough_makes_the_only_replica_give_its_place(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2)
    cramped = Round(V1, holds=(Hold(V2.key, "it needs more"),))
    assert not kept.rollouts.turn(cramped)
    kept.clock.us += CRAMPED_US
    assert kept.rollouts.turn(cramped)
    found = kept.rollouts.all[V1.name]
    assert (found.alone, found.share, found.phase) == (True, 100, "canary")


def test_two_replicas_leave_one_place(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2)
    cramped = Round(V1, V1, V1, holds=(Hold(V2.key, "it needs more"),))
    kept.rollouts.turn(cramped)
    kept.clock.us += CRAMPED_US
    assert kept.rollouts.turn(cramped)
    assert kept.rollouts.all[V1.name].leave == 2


def test_a_version_that_cannot_be_served_goes_back_and_says_why(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2)
    seen = Round(V1)
    seen.faults[V2.key] = "its weights are broken"
    assert kept.rollouts.turn(seen)
    assert "its weights are broken" in kept.rollouts.all[V1.name].reason


@pytest.mark.parametrize(
    ("spec", "wanted", "words"),
    [
        (V1, WANTED, "all the traffic"),
        (msgspec.structs.replace(V2, name="other"), WANTED, "there is no model other"),
    ],
)
def test_what_cannot_begin_is_refused(kept: Kept, spec: ModelSpec, wanted: Catalog, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        kept.rollouts.deploy(wanted, spec)


def test_one_at_a_time_and_promotion_needs_a_replica(kept: Kept) -> None:
    with pytest.raises(Invalid, match="nothing is on its way"):
        kept.rollouts.promote(V1.name)
    kept.rollouts.deploy(WANTED, V2)
    with pytest.raises(Invalid, match="is on its way"):
        kept.rollouts.deploy(WANTED, V2)
    with pytest.raises(Invalid, match="no replica"):
        kept.rollouts.promote(V1.name)
    assert kept.rollouts.rollback(V1.name).phase == "rolled_back"
    with pytest.raises(Invalid, match="no rollout"):
        kept.rollouts.rollback(V1.name)


def pair(kept: Kept, **more: Any) -> Likeness:
    facts = {"version": "v2", "against": "v1", "at_us": kept.clock.now_us(), "score": 0.9, **more}
    return Likeness(model=V1.name, **facts)


def test_a_shadow_is_compared_and_promoted_only_when_its_answers_agree(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2, How(shadow=10, agree=95))
    kept.rollouts.turn(Round(V1, V2))
    assert "no answers were compared yet" in policy.verdict(kept.rollouts.all[V1.name])
    for other in ({"against": "v3"}, {"version": "v1", "against": "v2"}, {"at_us": 0}):
        kept.rollouts.compared(pair(kept, **other))
    for _ in range(40):
        kept.rollouts.compared(pair(kept))
    kept.clock.us += 3 * S
    kept.rollouts.turn(Round(V1, V2))
    kept.open()
    assert kept.rollouts.all[V1.name].agreement.pairs == 40
    with pytest.raises(Invalid, match=r"its agreement is 90.0 %, 8\d.\d % at least, and must be 95 %"):
        kept.rollouts.promote(V1.name)
    for _ in range(4_000):
        kept.rollouts.compared(pair(kept, score=0.99))
    promoted = kept.rollouts.promote(V1.name)
    assert promoted.phase == "promoted"
    assert "agreement 0.989 (0.98" in promoted.reason
    assert "over 4040 answers" in promoted.reason


def test_a_file_that_says_otherwise_ends_it(kept: Kept) -> None:
    kept.rollouts.deploy(WANTED, V2)
    kept.rollouts.applied(WANTED, WANTED)
    assert V1.name in kept.rollouts.all
    kept.rollouts.applied(WANTED, catalog(model(memory_bytes=5)))
    assert V1.name not in kept.open().all


def test_a_full_disk_stops_no_step_and_what_was_asked_for_is_not_acknowledged(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.rollouts.deploy(WANTED, V2)
    with monkeypatch.context() as full:

        def refuse(*_: object) -> None:
            raise Transient("the disk is full")

        full.setattr(kept.store, "put", refuse)
        assert kept.rollouts.turn(Round(V1, V2))
        assert kept.rollouts.all[V1.name].share == 5
        with pytest.raises(Transient):
            kept.rollouts.promote(V1.name)
        assert kept.rollouts.all[V1.name].phase == "canary"
    kept.clock.us += 3 * S
    kept.rollouts.turn(Round(V1, V2))
    assert kept.open().all[V1.name].share == 5


def test_weights_of_a_version_that_only_a_rollout_knows_can_be_prepared(kept: Kept) -> None:
    """The process that prepares them reads the store, and the file in force does not have it."""
    only = msgspec.structs.replace(WANTED, models=tuple(model for model in WANTED.models if model.key != V2.key))
    catalogs.save(kept.store, only)
    kept.rollouts.deploy(only, V2)
    stored, found = catalogs.load(kept.store), catalogs.in_force(kept.store)
    assert stored is not None
    assert found is not None
    assert (stored.model(V2.key), found.model(V1.key) is None) == (None, False)
    assert getattr(found.model(V2.key), "digest", "") == V2.digest
