"""Classes, deadlines and the budget of retries: who goes first, who is refused, and in which words."""

import pytest

from headrace.policy.actions import Assign, Reject, Wait
from headrace.policy.dispatch import Dispatch
from headrace.policy.retries import Retries
from headrace.state.request import BATCH, FLEX, INTERACTIVE
from headrace.state.work import WorkRate
from tests.policy.cloud import S, replica, request, route, table


def brain(slots: int = 2, **changed: object) -> Dispatch:
    made = Dispatch()
    made.update(table(route(**changed), replica("r1", slots=slots)), 0)
    return made


def test_who_comes_later_in_a_higher_class_goes_first() -> None:
    made = brain(slots=1)
    made.arrive(request("now"), 0)
    for name, priority in (("b", BATCH), ("f", FLEX), ("i", INTERACTIVE)):
        assert isinstance(made.arrive(request(name, priority=priority), 1), Wait)
    order = ["now"]
    for moment in range(2, 5):
        (answer,) = made.ended(order[-1], moment)
        order.append(answer.request)
    assert order == ["now", "i", "f", "b"]


def test_batch_leaves_a_slot_for_who_asks_now() -> None:
    made = brain(slots=4)
    found = [made.arrive(request(f"b{n}", priority=BATCH), n) for n in range(5)]
    assert [type(answer) for answer in found] == [Assign, Assign, Assign, Wait, Wait]
    assert isinstance(made.arrive(request("i"), 9), Assign)
    assert made.ended("i", 10) == []
    (answer,) = made.ended("b0", 11)
    assert answer.request == "b3"


def test_batch_uses_the_only_slot_there_is_when_nobody_else_asks() -> None:
    assert isinstance(brain(slots=1).arrive(request("b", priority=BATCH), 0), Assign)


def test_a_full_queue_lets_the_last_batch_request_go_and_never_an_equal() -> None:
    made = brain(slots=1, queue_max=2)
    made.arrive(request("now"), 0)
    made.arrive(request("b1", priority=BATCH), 1)
    made.arrive(request("b2", priority=BATCH), 2)
    assert isinstance(made.arrive(request("b3", priority=BATCH), 3), Reject)
    assert made.shed == []
    assert isinstance(made.arrive(request("i1"), 4), Wait)
    (gone,) = made.shed
    assert (gone.request, gone.code) == ("b2", "overloaded")
    assert gone.retry_after_us >= S
    assert isinstance(made.arrive(request("i2"), 5), Wait)
    assert isinstance(made.arrive(request("i3"), 6), Reject)


def test_no_replica_is_asked_for_because_of_batch_work() -> None:
    made = brain(slots=4)
    for n in range(20):
        made.arrive(request(f"b{n}", priority=BATCH), n)
    (found,) = made.demand(30)
    assert found.batch == found.in_flight + found.queued
    assert found.backlog_us == 0


def test_a_deadline_that_cannot_be_kept_is_told_at_once() -> None:
    made = brain(slots=1)
    for n in range(17):
        made.arrive(request(f"w{n}"), 0)
        made.ended(f"w{n}", S)
    made.arrive(request("now"), 0)
    answer = made.arrive(request("soon", deadline_us=S // 2, strict=True), 0)
    assert isinstance(answer, Reject)
    assert answer.code == "deadline_unreachable"
    assert "1.00 s" in answer.reason
    assert isinstance(made.arrive(request("later", deadline_us=9 * S, strict=True), 0), Wait)
    (late,) = made.tick(10 * S)
    assert (late.request, late.code) == ("later", "deadline_unreachable")


def test_a_sleeping_model_that_wakes_too_slowly_for_a_deadline_is_refused() -> None:
    made = Dispatch()
    made.update(table(route(wake_us=5 * S)), 0)
    answer = made.arrive(request("soon", deadline_us=2 * S, strict=True), 0)
    assert isinstance(answer, Reject)
    assert answer.code == "deadline_unreachable"
    assert isinstance(made.arrive(request("later", deadline_us=9 * S, strict=True), 0), Wait)


@pytest.mark.parametrize("slots", [4, 64])
def test_all_of_a_dead_replica_may_be_tried_again_and_a_lasting_fault_may_not(slots: int) -> None:
    budget = Retries(0)
    assert all(budget.take(slots, 0) for _ in range(slots))
    while budget.take(slots, 0):
        pass
    for _ in range(50):
        budget.arrived()
    assert sum(budget.take(slots, 0) for _ in range(50)) == 10
    assert budget.take(slots, S)
    assert not budget.take(slots, S)


def test_a_retry_beyond_the_budget_is_refused_in_words() -> None:
    made = Dispatch()
    made.update(table(route(), replica("r1", slots=50), replica("r2", slots=50)), 0)
    found = None
    for n in range(400):
        made.arrive(request(str(n), deadline_us=1 << 60), 0)
        found = made.lost(str(n), 0)
        if isinstance(found, Reject):
            break
        made.ended(str(n), 0, ok=False)
    assert isinstance(found, Reject)
    assert "a fifth of its requests" in found.reason


def test_batch_work_keeps_the_pace_of_who_is_there() -> None:
    """Of 64 slots 16 keep the pace of each: batch takes 14 of them, an eighth is for who comes; others take any slot."""
    made = Dispatch()
    rate = WorkRate(output_ns=1, batch=16)
    made.update(table(route(rate=rate), replica("r1", slots=64), replica("r2", slots=64)), 0)
    found = [made.arrive(request(f"b{n}", priority=BATCH), n) for n in range(40)]
    assert sum(isinstance(answer, Assign) for answer in found) == 2 * 14
    for n in range(100):
        assert isinstance(made.arrive(request(f"i{n}"), 50), Assign)
    assert [made.ended(f"i{n}", 60) for n in range(90)] == [[]] * 90
    more = [answer.request for n in range(90, 100) for answer in made.ended(f"i{n}", 61)]
    more += [answer.request for n in range(2) for answer in made.ended(f"b{n}", 62)]
    assert more == ["b28", "b29"]


def test_batch_work_leaves_half_of_the_pace_to_others_who_are_there() -> None:
    made = Dispatch()
    made.update(table(route(rate=WorkRate(output_ns=1, batch=16)), *(replica(f"r{n}", slots=64) for n in range(2))), 0)
    made.arrive(request("i"), 0)
    found = [made.arrive(request(f"b{n}", priority=BATCH), n) for n in range(20)]
    assert sum(isinstance(answer, Assign) for answer in found) == 2 * 8 - 1


def test_answers_that_were_slower_than_promised_are_told() -> None:
    """Of streams of several tokens; who saw no tokens says nothing about pace."""
    made = brain(tpot_us=50_000)
    for tokens, decode_us in ((11, 500_000), (11, 500_001), (1, 9 * S), (11, 0)):
        made.answered("m", "v1", tokens, decode_us=decode_us)
    made.answered("m", "v1", 11, whole=False, decode_us=9 * S)
    (found,) = made.demand(30)
    assert (found.paced, found.slow) == (2, 1)


def test_lengths_of_whole_answers_are_told_by_class() -> None:
    """Prompts of 100 and 120 tokens are alike, one of 300 is not; batch work and what was cut tell nothing."""
    made = brain()
    for fresh, tokens in ((100, 10), (120, 20), (300, 5), (0, 50)):
        made.answered("m", "v1", tokens, fresh=fresh)
    made.answered("m", "v1", 7, whole=False, fresh=100)
    (found,) = made.demand(30)
    assert found.sizes == {7: (2, 220, 30), 9: (1, 300, 5)}


def test_who_can_still_be_in_time_goes_before_who_cannot() -> None:
    """Of one tenant: an overload makes those late who are too many, not everybody; and nobody waits for ever."""
    made = brain(slots=1, queue_max=100)
    made.arrive(request("first"), 0)
    for name, at_us in (("old", 0), ("late", S), ("new", 10 * S), ("newest", 11 * S)):
        made.arrive(request(name), at_us)
    order, now_us, running = [], 11 * S, "first"
    while running:
        (running,) = [answer.request for answer in made.ended(running, now_us)] or ("",)
        order.append(running)
        now_us += 100_000
    assert order == ["new", "newest", "old", "late", ""]
    made.arrive(request("busy"), 20 * S)
    for name, at_us in (("overdue", 20 * S), ("fresh", 53 * S)):
        made.arrive(request(name), at_us)
    assert [answer.request for answer in made.ended("busy", 53 * S)] == ["overdue"]


def test_prompts_wait_where_their_turn_is_kept() -> None:
    """A replica with its best batch gets the next one when its prompts are nearly worked off; with less, at once."""
    made = Dispatch()
    rate = WorkRate(fixed_ns=400_000_000, output_ns=1, batch=2)
    made.update(table(route(rate=rate, queue_max=100), replica("r1", slots=8)), 0)
    assert [type(made.arrive(request(f"n{n}"), 0)) for n in range(4)] == [Assign, Assign, Wait, Wait]
    assert made.tick(299_999) == []  # two prompts of 400 ms: half a second is left of them
    assert [answer.request for answer in made.tick(300_000)] == ["n2"]
    assert [answer.request for answer in made.tick(700_000)] == ["n3"]
