"""Hedging: a second replica for a short call that takes longer than nineteen of twenty, within the budget of retries."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.actions import Assign, Wait
from headrace.policy.dispatch import Dispatch
from headrace.policy.hedging import EVIDENCE, WAIT_MIN_US, Quick
from tests.policy.cloud import S, replica, request, route, table

MS = 1_000


def brain(replicas: int = 2, slots: int = 8, **changed: object) -> Dispatch:
    """One that has seen short calls of 100 ms."""
    made = Dispatch()
    seats = [replica(f"r{at}", slots=slots) for at in range(replicas)]
    made.update(table(route(**({"hedge": True} | changed)), *seats), 0)
    for n in range(EVIDENCE):
        made.arrive(request(f"w{n}", short=True), 0)
        made.ended(f"w{n}", 100 * MS)
    return made


def test_a_twentieth_of_calls_takes_longer_than_what_was_learned():
    """Of lengths as they come, whatever the scale; and it follows when all become slower."""
    rng, quick, late = random.Random(1), Quick(), 0
    for number in range(20_000):
        took = int(rng.lognormvariate(10, 0.7) * (3 if number >= 10_000 else 1))
        late += number >= 12_000 and took > quick.after_us()
        quick.took(took)
    assert 0.03 < late / 8_000 < 0.07


def test_nothing_is_hedged_before_enough_was_seen_nor_sooner_than_it_is_worth():
    quick = Quick()
    for _ in range(EVIDENCE - 1):
        quick.took(10)
    assert quick.after_us() == 0
    quick.took(10)
    assert quick.after_us() == WAIT_MIN_US


def test_who_may_be_hedged_is_told_when():
    """Short calls of a model that asks for it, where there is another replica."""
    told = brain().arrive(request("a", short=True), S)
    assert isinstance(told, Assign)
    assert told.hedge_us == 100 * MS
    for made, short in ((brain(), False), (brain(hedge=False), True), (brain(replicas=1), True)):
        answer = made.arrive(request("a", short=short), S)
        assert isinstance(answer, Assign)
        assert answer.hedge_us == 0


def test_the_second_goes_elsewhere_and_whoever_ends_it_frees_both():
    made = brain()
    first = made.arrive(request("a", short=True), S)
    second = made.hedge("a", S + 100 * MS)
    assert isinstance(first, Assign)
    assert isinstance(second, Assign)
    assert {first.replica, second.replica} == {"r0", "r1"}
    assert "has not answered for 100" in second.reason
    assert made.hedge("a", S + 101 * MS) is None
    assert sum(made.in_flight().values()) == 2
    assert made.ended("a", S + 120 * MS) == []
    assert sum(made.in_flight().values()) == 0
    assert made.hedge("a", 2 * S) is None
    (demand,) = made.demand(3 * S)
    assert demand.work_us == EVIDENCE * 100 * MS + 120 * MS + 20 * MS  # both slots' time, each as long as it was held


def test_either_may_fail_while_the_other_goes_on():
    """What is lost after that is a request with one replica, as any other."""
    for gone in (0, 1):
        made = brain()
        tries = [made.arrive(request("a", short=True), S), made.hedge("a", S + 1)]
        assert made.parted("a", tries[gone].incarnation, S + 2) == []
        assert made.in_flight()[tries[gone].replica] == 0
        assert made.in_flight()[tries[1 - gone].replica] == 1
        made.lost("a", S + 3)
        assert made.in_flight()[tries[1 - gone].replica] == 0


def test_a_second_takes_no_slot_that_somebody_waits_for_or_may_want():
    made = brain(slots=1)
    made.arrive(request("a", short=True), S)
    assert made.hedge("a", S + 1) is None  # one slot of two is left, and who asks now wants it
    made = brain(slots=2)
    for n in range(4):
        made.arrive(request(f"a{n}", short=True), S)
    assert isinstance(made.arrive(request("late"), S), Wait)
    assert made.hedge("a0", S + 1) is None


def test_seconds_are_within_the_budget_of_retries():
    """A replica that is slow for everybody doubles nothing: a fifth of the calls, and a floor of one a second."""
    made, asked = brain(slots=400), 0
    for n in range(4_000):
        made.arrive(request(f"a{n}", short=True), S)
        asked += made.hedge(f"a{n}", S) is not None
        made.ended(f"a{n}", S)
    assert asked <= 4_000 // 5 + 2 * 800 + 10


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ahpqlet")), max_size=80), st.integers(1, 3))
def test_slots_are_neither_lost_nor_made(steps: list[tuple[int, str]], replicas: int):
    """Whatever happens to hedged requests in whatever order: in the end all is free, and never is a replica overfull."""
    made, now_us, tries = brain(replicas, slots=4), S, {}
    for number, (name, what) in enumerate(steps):
        now_us += 10 * MS
        key = f"{name}-{number}" if what == "a" else next((k for k in tries if k.startswith(f"{name}-")), "")
        if what == "a":
            answer = made.arrive(request(key, short=True, deadline_us=1 << 60), now_us)
            if isinstance(answer, Assign):
                tries[key] = answer.incarnation
        elif not key:
            continue
        elif what == "h":
            made.hedge(key, now_us)
        elif what in "pq":
            made.parted(key, tries[key] if what == "p" else "r1-1", now_us)
        elif what in "let":
            tries.pop(key)
            made.ended(key, now_us, ok=what == "e")
        assert max(made.in_flight().values()) <= 4
    for key in list(tries):
        made.left(key, now_us)
    for number in range(len(steps)):  # who was held got a slot meanwhile
        for name in range(10):
            made.left(f"{name}-{number}", now_us)
    assert set(made.in_flight().values()) == {0}
    assert made.held == 0
