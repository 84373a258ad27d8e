"""The fast brain, case by case; its properties are in test_dispatch_laws.py."""

import re
from pathlib import Path

from headrace.policy import admission
from headrace.policy.actions import Assign, Reject, Wait
from headrace.policy.dispatch import Dispatch
from headrace.wire import fault
from tests.policy.cloud import S, replica, request, route, table


def ready(*parts, now_us: int = 0) -> Dispatch:
    brain = Dispatch()
    brain.update(table(*parts), now_us)
    return brain


def test_a_request_goes_to_the_ready_replica() -> None:
    """With a free slot the answer is at once Assign, naming the incarnation and the reason."""
    brain = ready(route(), replica("r1"))
    expected = Assign("a", "r1", "r1-1", "v1", "the only ready replica, 0 of 2 slots busy")
    assert expected == brain.arrive(request("a"), 1)
    assert brain.in_flight() == {"r1": 1}


def test_a_sleeping_model_is_woken_once_and_the_request_kept() -> None:
    """The first held request says wake; the replica's readiness answers both, in order."""
    brain = ready(route(wake_us=S))
    first, second = brain.arrive(request("a"), 0), brain.arrive(request("b"), 1)
    assert first == Wait("a", "v1", "no replica of m@v1 is ready, a start takes about 1.00 s", wake=True, cold=True)
    assert isinstance(second, Wait)
    assert not second.wake
    assert brain.held == 2
    answers = brain.update(table(route(), replica("r1")), S)
    assert [answer.request for answer in answers] == ["a", "b"]
    assert brain.held == 0


def test_a_full_queue_refuses_with_the_measured_time() -> None:
    """Two slots, one second each, four waiting: the fifth is told when a slot is likely free."""
    brain = ready(route(), replica("r1"))
    brain.arrive(request("x"), 0)
    brain.ended("x", S)
    for name in "abcdef":
        assert not isinstance(brain.arrive(request(name), S), Reject)
    answer = brain.arrive(request("g"), S)
    assert isinstance(answer, Reject)
    assert (answer.status, answer.code, answer.retry_after_us) == (503, "overloaded", 2_500_000)
    assert "queue_max) is 4" in answer.reason


def test_the_prefix_keeps_its_replica_until_the_guard() -> None:
    """Eight slots: at most two more than the least loaded."""
    brain = ready(route(), replica("r1", slots=8), replica("r2", slots=8))
    places = [brain.arrive(request(str(n), prefix_hash=7), 0) for n in range(4)]
    assert [isinstance(place, Assign) and place.replica for place in places] == ["r1", "r1", "r1", "r2"]


def test_without_prefixes_the_least_loaded_is_taken_in_turn() -> None:
    """Three replicas, three requests, three places."""
    brain = ready(route(), replica("r1"), replica("r2"), replica("r3"))
    places = {getattr(brain.arrive(request(str(n)), 0), "replica", "") for n in range(3)}
    assert places == {"r1", "r2", "r3"}


def test_versions_share_by_weight_and_the_same_id_stays() -> None:
    """Weights 3 and 1: about a quarter goes to v2; no chance is involved."""
    brain = ready(route(weight=3), route("m@v2"), replica("r1", slots=9999), replica("r2", "m@v2", slots=9999))
    answers = [brain.arrive(request(f"req_{n}"), 0) for n in range(1000)]
    share = sum(isinstance(answer, Assign) and answer.version == "v2" for answer in answers)
    assert 200 < share < 300


def test_a_version_with_a_fault_gives_its_share_away() -> None:
    """While every version has one, requests are refused and told why."""
    brain = ready(route(weight=9, fault="its weights are gone"), route("m@v2"), replica("r2", "m@v2"))
    answer = brain.arrive(request("a"), 0)
    assert isinstance(answer, Assign)
    assert answer.version == "v2"
    answer = ready(route(fault="its weights are gone")).arrive(request("a"), 0)
    assert answer == Reject("a", 503, "model_unavailable", "m@v1 cannot be served: its weights are gone")


def test_a_request_whose_replica_failed_goes_to_another() -> None:
    """And the second failure is the end: two attempts."""
    brain = ready(route(), replica("r1"), replica("r2"))
    first = brain.arrive(request("a"), 0)
    second = brain.lost("a", 1)
    assert isinstance(first, Assign)
    assert isinstance(second, Assign)
    assert second.replica != first.replica
    assert second.reason.endswith("try 2")
    end = brain.lost("a", 2)
    assert isinstance(end, Reject)
    assert (end.status, end.code) == (502, "upstream_failed")


def test_a_request_under_which_two_replicas_died_is_the_cause() -> None:
    """It is not tried a third time, and clients are told not to."""
    brain = ready(route(), replica("r1"), replica("r2"))
    brain.arrive(request("a"), 0)
    brain.lost("a", 1, crashed=True)
    end = brain.lost("a", 2, crashed=True)
    assert isinstance(end, Reject)
    assert (end.status, end.code, end.retry_after_us) == (500, "engine_crash", None)


def test_the_only_replica_is_tried_again_after_its_restart() -> None:
    """Held while the incarnation that failed is the only one, served by the next."""
    brain = ready(route(), replica("r1"))
    brain.arrive(request("a"), 0)
    assert isinstance(brain.lost("a", 1), Wait)
    assert brain.tick(2) == []
    answers = brain.update(table(route(), replica("r1", incarnation="r1-2")), 3)
    assert [getattr(answer, "incarnation", "") for answer in answers] == ["r1-2"]


def test_held_requests_outlive_their_replicas_until_the_start_timeout() -> None:
    """All replicas gone: a restart may come; after start_timeout the refusal says how long it was held."""
    brain = ready(route(start_timeout_us=10 * S))
    brain.arrive(request("a"), 0)
    assert brain.tick(9 * S) == []
    (answer,) = brain.tick(10 * S)
    assert isinstance(answer, Reject)
    assert (answer.status, answer.code) == (503, "start_timeout")
    assert answer.reason.startswith("held for 10.00 s")


def test_a_deadline_passes_while_all_slots_are_busy() -> None:
    """503 overloaded, with the slots in words."""
    brain = ready(route(), replica("r1", slots=1))
    brain.arrive(request("a"), 0)
    brain.arrive(request("b", deadline_us=3 * S), 0)
    (answer,) = brain.tick(3 * S)
    assert isinstance(answer, Reject)
    assert (answer.code, answer.reason) == (
        "overloaded",
        "held for 3.00 s, until its deadline: all 1 slots of m@v1 were busy",
    )


def test_three_faults_in_a_row_eject_and_one_success_forgives() -> None:
    """For two seconds nothing goes there, then one request at a time until one ends well."""
    brain = ready(route(), replica("r1"), replica("r2"))
    for _ in range(3):
        brain.fault("r1", "r1-1", 0)
    places = [getattr(brain.arrive(request(str(n)), S), "replica", "") for n in range(3)]
    assert places == ["r2", "r2", ""]
    (answer,) = brain.tick(2 * S)
    assert getattr(answer, "replica", "") == "r1"
    assert isinstance(brain.arrive(request("x"), 2 * S), Wait)
    assert [getattr(found, "replica", "") for found in brain.ended("2", 3 * S)] == ["r1"]
    assert getattr(brain.arrive(request("y"), 3 * S), "replica", "") == "r1"


def test_the_last_replica_is_never_shut_for_long() -> None:
    """However often it failed: two seconds."""
    brain = ready(route(), replica("r1"))
    for round_us in range(0, 50 * S, 5 * S):
        for _ in range(3):
            brain.fault("r1", "r1-1", round_us)
        brain.tick(round_us + 2 * S)
    assert isinstance(brain.arrive(request("a"), 47 * S), Assign)


def test_late_news_of_an_earlier_incarnation_is_ignored() -> None:
    """Faults count for the incarnation they name."""
    brain = ready(route(), replica("r1"))
    for _ in range(9):
        brain.fault("r1", "r1-0", 0)
    assert isinstance(brain.arrive(request("a"), 0), Assign)


def test_demand_counts_slot_time_within_the_window() -> None:
    """Two requests at work for half a window each, one from before: their time here, not their whole time."""
    brain = ready(route(), replica("r1"))
    brain.arrive(request("a"), 0)
    assert brain.demand(4 * S)[0].work_us == 4 * S
    brain.arrive(request("b"), 5 * S)
    brain.ended("a", 5 * S)
    (found,) = brain.demand(6 * S)
    expected = (1, 1, 0, 2 * S, 2 * S, 5 * S)
    assert (found.arrivals, found.in_flight, found.queued, found.work_us, found.window_us, found.last_us) == expected


def test_a_removed_model_refuses_its_held_requests() -> None:
    """Its other version takes them if there is one."""
    brain = ready(route(), route("m@v2", weight=0))
    brain.arrive(request("a"), 0)
    answers = brain.update(table(route("m@v2"), replica("r2", "m@v2")), 1)
    assert [getattr(answer, "version", "") for answer in answers] == ["v2"]
    brain = ready(route())
    brain.arrive(request("a"), 0)
    assert [getattr(answer, "status", 0) for answer in brain.update(table(), 1)] == [404]


def test_who_named_the_version_that_is_removed_gets_no_other() -> None:
    brain = ready(route(), route("m@v2", weight=0))
    brain.arrive(request("a", version="v1"), 0)
    answers = brain.update(table(route("m@v2"), replica("r2", "m@v2")), 1)
    assert [getattr(answer, "reason", "") for answer in answers] == ["there is no model m@v1"]


def test_every_refusal_has_its_place_in_the_catalogue_of_errors() -> None:
    """The status the brain gives is the one clients are documented."""
    words = Path(admission.__file__).read_text()
    found = re.findall(r'Reject\(\s*[a-z_.]+,\s*(\d+),\s*"([a-z_]+)"', words)
    assert len(found) >= 7
    assert [(code, fault.status(code)) for _, code in found] == [(code, int(status)) for status, code in found]


def test_what_is_held_for_a_version_that_gets_no_more_traffic_goes_to_the_one_that_does() -> None:
    """A rollout that goes back, or gives the only place away: who named the version waits for it all the same."""
    brain = Dispatch()
    one, two = route("m@v1", weight=0), route("m@v2", weight=100)
    brain.update(table(one, two, replica("r2", "m@v2", slots=1)), 0)
    running, waiting, named = request("a"), request("b"), request("c", version="v2")
    assert isinstance(brain.arrive(running, 0), Assign)
    assert [type(brain.arrive(each, 0)) for each in (waiting, named)] == [Wait, Wait]
    back = table(route("m@v1", weight=100), route("m@v2", weight=0), replica("r1", "m@v1"),
                 replica("r2", "m@v2", slots=1, phase="draining"))  # fmt: skip
    (answer,) = brain.update(back, S)
    assert isinstance(answer, Assign)
    assert (answer.request, answer.replica, answer.version) == ("b", "r1", "v1")
    assert brain.held == 1
