"""Properties of the fast brain under thousands of random histories, told by a machine that keeps its own books."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.policy.actions import Answer, Assign, Reject, Wait
from headrace.policy.dispatch import Dispatch
from headrace.state.table import Table
from tests.policy.cloud import S, replica, request, route, table

NAMES = ("r1", "r2", "r3")
PHASES = ("ready", "ready", "starting", "draining")


class Histories(RuleBasedStateMachine):
    """One gateway, one model, three replicas that come and go, siblings that take slots."""

    def __init__(self) -> None:
        super().__init__()
        self.brain, self.twin = Dispatch(), Dispatch()
        self.now_us = 0
        self.count = 0
        self.slots: dict[tuple[str, str], int] = {}
        self.lives: dict[str, int] = {}
        self.table: Table = table()
        self.siblings: dict[str, int] = {}
        self.running: dict[str, Assign] = {}
        self.held: dict[str, int] = {}  # id: order of arrival
        self.since_us: dict[str, int] = {}
        self.over: set[str] = set()
        self.retried: set[str] = set()
        self.tell("update", table(route(queue_max=6, start_timeout_us=60 * S)))

    def tell(self, event: str, *words: Any, **named: Any) -> Any:
        """The same to both brains: equal histories, equal answers."""
        answers = [getattr(brain, event)(*words, self.now_us, **named) for brain in (self.brain, self.twin)]
        assert answers[0] == answers[1]
        return answers[0]

    def take(self, answers: list[Answer]) -> None:
        for answer in answers:
            assert answer.request not in self.running
            assert answer.request not in self.over
            order = self.held.pop(answer.request, None)
            match answer:
                case Assign():
                    self.check_place(answer)
                    self.check_order(answer, order)
                    self.running[answer.request] = answer
                case Wait():
                    self.held[answer.request] = int(answer.request)
                case Reject():
                    self.over.add(answer.request)
                    assert answer.reason

    def check_place(self, answer: Assign) -> None:
        """Only open, ready replicas, and never over their slots, siblings counted."""
        limit = self.slots[answer.replica, answer.incarnation]
        row = next(row for row in self.table.replicas if row.id == answer.replica)
        assert (row.phase, row.incarnation) == ("ready", answer.incarnation)
        own = sum((a.replica, a.incarnation) == (answer.replica, answer.incarnation) for a in self.running.values())
        assert own + self.siblings.get(answer.replica, 0) < limit

    def check_order(self, answer: Assign, order: int | None) -> None:
        """First come, first served, of those who can still be in time, and then of the others; but not past those who
        waited for very long. Those that failed once may have to wait for another replica.
        """
        mine = int(answer.request) if order is None else order
        place = self.rank(answer.request), mine
        others = [(self.rank(name), other) for name, other in self.held.items() if name not in self.retried]
        assert answer.request in self.retried or all(other > place for other in others)

    def rank(self, name: str) -> int:
        """0 held for very long, 1 in time, 2 late."""
        waited_us = self.now_us - self.since_us[name]
        return 0 if waited_us > 32 * S else 1 + (waited_us > 3 * S // 2)

    @rule(passed_us=st.sampled_from([1, S, 20 * S]), prefix=st.integers(0, 2), patience_s=st.sampled_from([5, 600]))
    def arrive(self, passed_us: int, prefix: int, patience_s: int) -> None:
        self.now_us += passed_us
        self.count += 1
        deadline_us = self.now_us + patience_s * S
        self.since_us[str(self.count)] = self.now_us
        new = request(str(self.count), arrived_us=self.now_us, deadline_us=deadline_us, prefix_hash=prefix)
        self.take([self.tell("arrive", new)])

    @rule(data=st.data(), crashed=st.booleans())
    @precondition(lambda self: self.running)
    def lose(self, data: st.DataObject, crashed: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        lost = self.running.pop(name)
        self.retried.add(name)
        self.tell("fault", lost.replica, lost.incarnation)
        self.take([self.tell("lost", name, crashed=crashed)])

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def begin(self, data: st.DataObject) -> None:
        self.take(self.tell("begun", data.draw(st.sampled_from(sorted(self.running)))))

    @rule(data=st.data(), ok=st.booleans())
    @precondition(lambda self: self.running)
    def end(self, data: st.DataObject, ok: bool) -> None:
        self.now_us += S
        name = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[name]
        self.over.add(name)
        self.take(self.tell("ended", name, ok=ok))

    @rule(data=st.data())
    @precondition(lambda self: self.running or self.held)
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted({*self.running, *self.held})))
        self.running.pop(name, None)
        self.held.pop(name, None)
        self.over.add(name)
        self.take(self.tell("left", name))

    @rule(
        rows=st.lists(
            st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(1, 3), st.sampled_from(PHASES)),
            unique_by=lambda row: row[0],
        )
    )
    def new_table(self, rows: list[tuple[str, bool, int, Any]]) -> None:
        """Replicas come, go, and restart; incarnations never go back."""
        parts = []
        for name, restarted, slots, phase in rows:
            life = self.lives[name] = self.lives.get(name, 1) + restarted
            limit = self.slots.setdefault((name, f"{name}-{life}"), slots)
            parts.append(replica(name, incarnation=f"{name}-{life}", slots=limit, phase=phase))
        self.table = table(route(queue_max=6, start_timeout_us=60 * S), *parts)
        self.take(self.tell("update", self.table))

    @rule(counts=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)))
    def siblings_take(self, counts: dict[str, int]) -> None:
        self.siblings = counts
        for brain in (self.brain, self.twin):
            brain.others(counts)

    @rule(passed_us=st.sampled_from([1, S, 40 * S]))
    def tick(self, passed_us: int) -> None:
        self.now_us += passed_us
        self.take(self.tell("tick"))

    @rule()
    def report(self) -> None:
        found = self.tell("demand")
        assert sum(demand.queued for demand in found) == len(self.held)
        assert sum(demand.in_flight for demand in found) == len(self.running)
        assert all(demand.work_us >= 0 for demand in found)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Each arrival is running, held or over, and the brain counts as we do."""
        assert len(self.held) == self.brain.held
        assert self.count == len(self.running) + len(self.held) + len(self.over)

    def teardown(self) -> None:
        """Long enough after the last event, nothing is held any more."""
        self.now_us += 1000 * S
        self.take(self.tell("tick"))
        assert not self.held


Histories.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
