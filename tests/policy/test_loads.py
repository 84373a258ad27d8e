"""The quick ways to the least loaded seat and to whose turn it is change no decision: held against plain ones."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy import lane
from headrace.policy.actions import Answer, Assign, Wait
from headrace.policy.dispatch import Dispatch
from headrace.policy.loads import Loads
from headrace.state.table import RouteReplica
from headrace.state.work import WorkRate
from tests.policy.cloud import S, replica, request, route, table
from tests.policy.plain import PlainLoads, PlainQueue

EVENTS = 300


class Seat:
    def __init__(self, place: int, limit: int, load: int) -> None:
        self.bit, self.limit, self.own, self.others = 1 << place, limit, load, 0


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), min_size=1, max_size=130), st.randoms())
def test_the_least_loaded_from_a_place_on_is_who_a_look_at_each_finds(rows: list[tuple[int, int]], rng: random.Random):
    seats = [Seat(place, limit, load) for place, (limit, load) in enumerate(rows)]
    loads, plain = Loads(seats), PlainLoads(seats)
    for _ in range(60):
        seat = rng.choice(seats)
        if seat.own < seat.limit and rng.random() < 0.6:
            seat.own += 1
            loads.rose(seat)
        elif seat.own:
            seat.own -= 1
            assert loads.fell(seat) == plain.fell(seat)
        start, barred = rng.randrange(len(seats)), rng.getrandbits(len(seats))
        assert loads.least_beside(barred, start) == plain.least_beside(barred, start)
        if any(one.own < one.limit for one in seats):
            assert loads.least(start) == plain.least(start)


class History:
    """A gateway's life by seed: a fleet that changes, siblings, faults, hedges, classes, tenants, two versions."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.brain = Dispatch()
        self.now_us = 0
        self.count = 0
        self.lives: dict[str, int] = {}
        self.running: dict[str, Assign] = {}
        self.told: list[Any] = []

    def live(self) -> list[Any]:
        """Everything the brain said."""
        events = (
            [self.arrive] * 9
            + [self.begin] * 6
            + [self.end] * 8
            + [self.lose, self.hedge, self.leave, self.siblings, self.tick]
        )
        self.new_table()
        for _ in range(EVENTS):
            self.now_us += self.rng.choice((1, 1_000, 90_000))
            self.rng.choice(events)()
            if self.rng.random() < 0.02:
                self.new_table()
        return self.told

    def hear(self, answers: list[Answer]) -> None:
        self.told += [*answers, self.brain.demand(self.now_us) if self.rng.random() < 0.1 else None, *self.brain.shed]
        self.brain.shed.clear()
        self.running |= {answer.request: answer for answer in answers if isinstance(answer, Assign)}

    def new_table(self) -> None:
        rng = self.rng
        takes_ns = rng.choice((1_000, 200_000_000))
        rate = WorkRate(fixed_ns=takes_ns, input_ns=takes_ns // 50, output_ns=100, batch=rng.choice((0, 4)))
        shown = {"queue_max": rng.choice((3, 60)), "rate": rate, "hedge": True, "tpot_us": 50_000}
        seats = [self.seat(f"r{at}") for at in range(rng.randrange(14))]
        routes = [route("m@v1", **shown), route("m@v2", **shown, fault=rng.choice(("", "", "no weights")))]
        self.hear(self.brain.update(table(*routes[: rng.choice((1, 2, 2))], *seats), self.now_us))

    def seat(self, name: str) -> RouteReplica:
        life = self.lives[name] = self.lives.get(name, 0) + (self.rng.random() < 0.1)
        phase: Any = self.rng.choice(("ready", "ready", "ready", "draining"))
        key, slots = ("m@v1", 3) if int(name[1:]) % 3 else ("m@v2", 8)
        return replica(name, key, incarnation=f"{name}-{life}", slots=slots, phase=phase)

    def arrive(self) -> None:
        rng = self.rng
        self.count += 1
        words: dict[str, Any] = {
            "tenant": f"t{int(rng.paretovariate(0.6)) % 9}",
            "prefix_hash": rng.choice((0, rng.randrange(9))),
            "priority": rng.choice((0, 0, 1, 2)),
            "input_tokens": rng.choice((10, 40, 300)),
            "deadline_us": self.now_us + rng.choice((S, 60 * S)),
            "short": rng.random() < 0.5,
            "strict": rng.random() < 0.2,
            "version": rng.choice(("", "", "v1", "v2")),
            "excluded": rng.choice(((), (), (), ("r0", "r4"))),
        }
        self.hear([self.brain.arrive(request(str(self.count), **words), self.now_us)])

    def one(self, *, forget: bool = True) -> Assign | None:
        if not self.running:
            return None
        name = self.rng.choice(list(self.running))
        return self.running.pop(name) if forget else self.running[name]

    def begin(self) -> None:
        if seen := self.one(forget=False):
            self.hear(self.brain.begun(seen.request, self.now_us))

    def end(self) -> None:
        if done := self.one():
            self.brain.answered("m", done.version, self.rng.randrange(200), decode_us=self.rng.randrange(9 * S))
            self.hear(self.brain.ended(done.request, self.now_us))

    def lose(self) -> None:
        if gone := self.one():
            self.brain.fault(gone.replica, gone.incarnation, self.now_us)
            self.hear([self.brain.lost(gone.request, self.now_us, crashed=self.rng.random() < 0.5)])

    def hedge(self) -> None:
        if slow := self.one(forget=False):
            second = self.brain.hedge(slow.request, self.now_us)
            self.told.append(second)
            if second is not None and self.rng.random() < 0.5:
                gone = self.rng.choice((slow, second)).incarnation
                self.hear(self.brain.parted(slow.request, gone, self.now_us))

    def leave(self) -> None:
        name = str(self.rng.randrange(self.count + 1))
        self.running.pop(name, None)
        self.hear(self.brain.left(name, self.now_us))

    def siblings(self) -> None:
        self.brain.others({f"r{at}": self.rng.randrange(5) for at in range(12) if self.rng.random() < 0.4})

    def tick(self) -> None:
        self.hear(self.brain.tick(self.now_us))


@settings(max_examples=60)
@given(st.integers(0, 1 << 32))
def test_no_answer_depends_on_how_seats_and_the_held_are_kept(seed: int):
    quick = History(seed).live()
    with pytest.MonkeyPatch.context() as plainly:
        plainly.setattr(lane, "Loads", PlainLoads)
        plainly.setattr(lane, "Queue", PlainQueue)
        assert quick == History(seed).live()


def test_the_histories_have_in_them_what_could_differ():
    """Many held and sent later, second replicas, retries, followed prefixes, refusals."""
    told = [answer for seed in range(20) for answer in History(seed).live()]
    sent = [answer.reason for answer in told if isinstance(answer, Assign)]
    for words in ("; held", "second replica", "; try 2", "served this prefix", "least loaded of"):
        assert sum(words in reason for reason in sent) > 50, words
    assert sum(isinstance(answer, Wait) for answer in told) > 500
