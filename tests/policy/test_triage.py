"""Who is forgone in an overload: the fewest, and nobody else pays for it."""

from dataclasses import dataclass
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.actions import Assign
from headrace.policy.dispatch import Dispatch
from headrace.policy.triage import forgone
from headrace.state.request import BATCH
from headrace.state.work import WorkRate
from tests.policy.cloud import S, replica, request, route, table

MS = 1_000
WITHIN_US = 30


@dataclass
class One:
    seq: int
    held_us: int
    takes_us: int


def line(gaps: list[int], takes: list[int]) -> list[One]:
    """Held one after the other, in order of arrival."""
    return [One(at, sum(gaps[: at + 1]), took) for at, took in enumerate(takes)]


def in_time(ones: list[One]) -> bool:
    over_us = 0
    for one in ones:
        over_us += one.takes_us
        if over_us > one.held_us + WITHIN_US:
            return False
    return True


SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=9)


@given(SIZES)
def test_nobody_could_have_more_of_them_in_time(sizes: list[tuple[int, int]]) -> None:
    """Held against every choice there is."""
    held = line([gap for gap, _ in sizes], [took for _, took in sizes])
    late, over_us = forgone(held, lambda one: one.takes_us, 0.0, WITHIN_US)
    kept = [one for one in held if one not in late]
    assert in_time(kept)
    assert over_us == sum(one.takes_us for one in kept)
    more = combinations(held, len(kept) + 1)
    assert not any(in_time(list(choice)) for choice in more)


def burst(count: int, tokens: list[int], **changed: object) -> tuple[Dispatch, list[str]]:
    """A replica that takes 1 ms a token and has seen a first token, and requests that all come at once."""
    made = Dispatch()
    rate = WorkRate(input_ns=1_000_000, output_ns=1_000_000, batch=2)
    made.update(table(route(rate=rate, queue_max=count, **changed), replica("r1", slots=64)), 0)
    made.arrive(request("before"), 0)
    made.begun("before", 10 * MS)
    made.ended("before", 20 * MS)
    found = [made.arrive(request(str(n), input_tokens=tokens[n % len(tokens)]), 20 * MS) for n in range(count)]
    return made, [answer.request for answer in found if isinstance(answer, Assign)]


def begun_in_order(made: Dispatch, sent: list[str], tokens: list[int], now_us: int) -> dict[str, int]:
    """When the first token of each is out, of a replica that works prompts off one after the other."""
    seen: dict[str, int] = {}
    while sent:
        name = sent.pop(0)
        now_us += tokens[int(name) % len(tokens)] * MS
        seen[name] = now_us
        answers = [*made.begun(name, now_us), *made.ended(name, now_us)]
        sent += [answer.request for answer in answers if isinstance(answer, Assign)]
    return seen


def test_in_a_burst_most_are_in_time_and_all_are_served() -> None:
    """Of 40 prompts of 100 to 700 ms that come at once, the shortest are in time; by arrival half as many would be."""
    tokens = [700, 100, 500, 100]
    made, sent = burst(40, tokens)
    first = list(sent)
    seen = begun_in_order(made, sent, tokens, 20 * MS)
    assert len(seen) == 40
    kept = [name for name, at_us in seen.items() if at_us <= 2 * S + 20 * MS]
    by_arrival = 5  # 700 + 100 + 500 + 100 + 700 ms is more than 2 s already
    assert len(first) < by_arrival
    assert len(kept) >= 2 * by_arrival
    late = [name for name in seen if name not in kept]
    assert [int(name) for name in late if name not in first] == sorted(int(name) for name in late if name not in first)


def test_who_can_all_be_in_time_keep_their_order() -> None:
    tokens = [300, 50, 200, 10]
    made, sent = burst(8, tokens)
    assert list(begun_in_order(made, sent, tokens, 20 * MS)) == [str(n) for n in range(8)]


def test_batch_work_and_models_without_an_objective_are_never_put_behind() -> None:
    for changed, priority in (({"ttft_us": 0}, 0), ({}, BATCH)):
        made = Dispatch()
        rate = WorkRate(input_ns=1_000_000, output_ns=1_000_000, batch=2)
        made.update(table(route(rate=rate, queue_max=99, **changed), replica("r1", slots=2)), 0)
        sizes = {str(n): 900 if n % 2 else 10 for n in range(12)}
        for name, tokens in sizes.items():
            made.arrive(request(name, input_tokens=tokens, priority=priority), 0)
        order = ["0"] if priority else ["0", "1"]
        now_us = 0
        for name in order:
            now_us += 5 * S
            order += [answer.request for answer in made.ended(name, now_us) if isinstance(answer, Assign)]
        assert order == sorted(order, key=int)
        assert len(order) == 12
