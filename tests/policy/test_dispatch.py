"""The fast brain, case by case; its properties are in test_dispatch_laws.py."""

from headrace.policy.actions import Assign, Reject, Wait
from headrace.policy.dispatch import Dispatch
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
