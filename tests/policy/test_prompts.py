"""How long prompts wait in a replica: what was foretold becomes what is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.actions import Assign, Reject, Wait
from headrace.policy.dispatch import Dispatch
from headrace.policy.lane import Lane, Ticket
from headrace.policy.prompts import SCALE_MAX, SCALE_MIN, begun, gone, sent
from headrace.policy.seat import Seat
from headrace.state.work import WorkRate
from tests.policy.cloud import S, replica, request, route, table

MS = 1_000
RATE = WorkRate(fixed_ns=5_000_000, input_ns=1_000_000, output_ns=1_000_000, batch=2)


def lane() -> tuple[Lane, Seat]:
    seat = Seat(replica("r1", slots=64), 0)
    seat.there = RATE
    return Lane(route(rate=RATE), 0), seat


def ticket(of: Lane, seq: int, tokens: int, now_us: int) -> Ticket:
    return Ticket(request(str(seq), input_tokens=tokens), of, seq, now_us)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=40), st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_once_all_first_tokens_are_out_nothing_waits(sizes: list[int], truth: float) -> None:
    """Whatever prompts really take: the replica is clear at the last first token, and the scale is on its way there."""
    of, seat = lane()
    tickets = [ticket(of, at, tokens, 0) for at, tokens in enumerate(sizes)]
    for one in tickets:
        sent(of, one, seat, 0)
    now_us = 0
    for one in tickets:
        now_us += round(one.alone_us * truth)
        begun(of, one, seat, now_us)
        assert SCALE_MIN <= of.prompt_scale <= SCALE_MAX
    assert seat.clear_us == pytest.approx(now_us, abs=1)
    assert min(1.0, truth) - 0.01 <= of.prompt_scale <= max(1.0, truth) + 0.01


@pytest.mark.parametrize("truth", [0.2, 2.5])
def test_what_prompts_take_is_learned(truth: float) -> None:
    of, seat = lane()
    now_us = 0
    for seq in range(600):
        one = ticket(of, seq, 100 + seq % 7 * 50, now_us)
        sent(of, one, seat, now_us)
        now_us += round(one.alone_us * truth)
        begun(of, one, seat, now_us)
    assert of.prompt_scale == pytest.approx(truth, rel=0.02)


def test_who_leaves_takes_no_time_and_who_was_answered_is_done() -> None:
    of, seat = lane()
    first, second, third = (ticket(of, seq, 95, 0) for seq in range(3))
    for one in (first, second, third):
        sent(of, one, seat, 0)
    assert seat.clear_us == 300 * MS
    gone(second, seat, 10 * MS, whole=False)
    assert seat.clear_us == 200 * MS
    gone(third, seat, 120 * MS, whole=True)  # it was the last one, so all are done
    assert seat.clear_us == 120 * MS
    gone(third, seat, 130 * MS, whole=True)
    assert seat.clear_us == 120 * MS
    assert not of.prompts_told


def assigned(made: Dispatch, count: int, now_us: int) -> int:
    found = [made.arrive(request(f"{now_us} {n}", input_tokens=200), now_us) for n in range(count)]
    return sum(isinstance(answer, Assign) for answer in found)


def test_prompts_are_held_here_once_it_is_known_what_they_take() -> None:
    """Before, a replica takes all that come up to its best batch; then not more than wait there for a quarter of the
    objective.
    """
    made = Dispatch()
    rate = WorkRate(input_ns=1_000_000, output_ns=1_000_000, batch=20)
    made.update(table(route(rate=rate, queue_max=99), replica("r1", slots=64)), 0)
    assert assigned(made, 30, 0) == 20
    made = Dispatch()
    made.update(table(route(rate=rate, queue_max=99), replica("r1", slots=64)), 0)
    made.arrive(request("before"), 0)
    made.begun("before", 10 * MS)
    assert assigned(made, 30, S) == 3  # the third comes when 400 ms wait, the fourth when 600 ms do


def test_who_waits_for_prompts_is_not_told_that_slots_are_busy() -> None:
    made = Dispatch()
    rate = WorkRate(input_ns=1_000_000, output_ns=1_000_000, batch=20)
    made.update(table(route(rate=rate, queue_max=99), replica("r1", slots=64)), 0)
    made.arrive(request("before"), 0)
    made.begun("before", 10 * MS)
    for number in range(3):
        made.arrive(request(str(number), input_tokens=200), S)
    held = made.arrive(request("held", input_tokens=200, deadline_us=2 * S), S)
    assert isinstance(held, Wait)
    assert held.reason.startswith("60 of 64 slots of 1 replicas free, and not for it yet: prompts there come first")
    made.arrive(request("long", input_tokens=900_000, deadline_us=1 << 50), S)
    (gone,) = [one for one in made.tick(3 * S) if isinstance(one, Reject)]
    assert (gone.request, "no slot of m@v1 came free for it" in gone.reason) == ("held", True)


def test_who_could_be_in_time_on_no_replica_is_not_late() -> None:
    """Three seconds alone, of two that are promised; a shorter one that took as long is."""
    rate = WorkRate(input_ns=1_000_000, output_ns=1_000_000, batch=20)
    for tokens, late in ((3_000, 0), (100, 1)):
        made = Dispatch()
        made.update(table(route(rate=rate, ttft_us=2 * S), replica("r1", slots=64)), 0)
        made.arrive(request("one", input_tokens=tokens), 0)
        made.begun("one", 3 * S)
        (found,) = made.demand(3 * S)
        assert (found.begun, found.late) == (1, late)


def test_a_cache_that_spares_prompts_opens_the_replica_to_more_of_them() -> None:
    """Each first token comes after 5 ms instead of 200 ms: whoever waits follows at once."""
    made = Dispatch()
    rate = WorkRate(input_ns=1_000_000, output_ns=1_000_000, batch=64)
    made.update(table(route(rate=rate, queue_max=99), replica("r1", slots=64)), 0)
    made.arrive(request("before"), 0)
    made.begun("before", 10 * MS)
    sent_names = [f"{S} {n}" for n in range(assigned(made, 60, S))]
    now_us = S
    for name in sent_names:
        now_us += 5 * MS
        sent_names += [answer.request for answer in made.begun(name, now_us) if isinstance(answer, Assign)]
    assert len(sent_names) == 60
