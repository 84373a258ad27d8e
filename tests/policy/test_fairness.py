"""Tenants that always have work get the same time of a model's slots, whatever their requests are like."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.actions import Assign
from headrace.policy.dispatch import Dispatch
from headrace.policy.fairness import Fairness
from headrace.state.table import RouteTenant
from tests.policy.cloud import S, replica, request, route, table

MS = 1_000


class Served:
    """One model of some slots; tenants' requests take the times they are given. What each got is counted."""

    def __init__(self, slots: int, weights: list[int] | None = None) -> None:
        self.brain = Dispatch()
        self.slots = slots
        self.weigh(weights or [])
        self.now_us, self.number = 0, 0
        self.got: dict[str, int] = {}
        self.ends: dict[str, tuple[int, str, int]] = {}
        self.took: dict[str, tuple[str, int]] = {}

    def weigh(self, weights: list[int]) -> None:
        """Tenants are called 0, 1, ..."""
        tenants = [RouteTenant(name=str(place), weight=weight) for place, weight in enumerate(weights)]
        self.brain.update(table(route(queue_max=10_000), replica("r1", slots=self.slots), *tenants), 0)

    def ask(self, tenant: str, took_us: int) -> None:
        self.number += 1
        name = str(self.number)
        self.took[name] = tenant, took_us
        self.see([self.brain.arrive(request(name, tenant=tenant, deadline_us=1 << 60), self.now_us)])

    def see(self, answers: list) -> None:
        for answer in answers:
            if isinstance(answer, Assign):
                tenant, took_us = self.took[answer.request]
                self.ends[answer.request] = self.now_us + took_us, tenant, took_us

    def next(self) -> str:
        """Let one request end; whose it was."""
        name = min(self.ends, key=lambda one: self.ends[one])
        self.now_us, tenant, took_us = self.ends.pop(name)
        self.got[tenant] = self.got.get(tenant, 0) + took_us
        self.see(self.brain.ended(name, self.now_us))
        return tenant


@settings(max_examples=60, deadline=None)
@given(
    slots=st.integers(1, 4),
    times=st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=4), min_size=2, max_size=4),
    weights=st.one_of(st.just([1] * 4), st.lists(st.integers(1, 100), min_size=4, max_size=4)),
    backlog=st.integers(4, 8),
)
def test_the_gap_of_tenants_that_always_wait_is_bounded(
    slots: int, times: list[list[int]], weights: list[int], backlog: int
) -> None:
    """By weight, twice the longest request times the slots; and what is at work at this moment."""
    served = Served(slots, weights)
    asked = dict.fromkeys(map(str, range(len(times))), 0)

    def more(tenant: str) -> None:
        own = times[int(tenant)]
        served.ask(tenant, own[asked[tenant] % len(own)] * MS)
        asked[tenant] += 1

    for tenant in asked:
        for _ in range(backlog):
            more(tenant)
    longest_us = max(max(own) for own in times) * MS
    for _ in range(200):
        more(served.next())
        got = [served.got.get(tenant, 0) / weights[int(tenant)] for tenant in asked]
        assert max(got) - min(got) <= 2 * slots * longest_us + slots * longest_us


def test_a_greedy_tenant_does_not_make_another_wait_behind_all_it_sent() -> None:
    served = Served(1)
    for _ in range(100):
        served.ask("greedy", 100 * MS)
    served.ask("modest", 100 * MS)
    assert [served.next() for _ in range(3)].count("modest") == 1


def test_a_tenant_of_weight_three_gets_three_times_the_time() -> None:
    """However long the requests of either are; and as much as it likes while nobody else waits."""
    served = Served(2, [3, 1])
    for _ in range(1_000):
        served.ask("0", 20 * MS)
    for _ in range(100):
        served.ask("1", 60 * MS)
    for _ in range(200):
        served.next()
    assert abs(served.got["0"] / served.got["1"] - 3) <= 0.2
    alone = Served(1, [3, 1])
    for _ in range(10):
        alone.ask("1", 60 * MS)
    assert [alone.next() for _ in range(10)] == ["1"] * 10


def test_a_new_weight_counts_from_then_on() -> None:
    """Nothing that was served before is counted again, whatever was at work at that moment."""
    served = Served(1)
    for tenant in ("0", "1"):
        for _ in range(1_000):
            served.ask(tenant, 10 * MS)
    for _ in range(100):
        served.next()
    served.weigh([4, 1])
    served.got.clear()
    for _ in range(200):
        served.next()
    assert abs(served.got["0"] - 4 * served.got["1"]) <= 4 * 3 * 10 * MS
    served.weigh([])
    served.got.clear()
    for _ in range(200):
        served.next()
    assert abs(served.got["0"] - served.got["1"]) <= 3 * 10 * MS


def test_nothing_is_saved_up_by_being_away() -> None:
    """One who comes late gets its share from then on, not all that it missed."""
    served = Served(1)
    for _ in range(300):
        served.ask("early", 10 * MS)
    for _ in range(100):
        served.next()
    for _ in range(100):
        served.ask("late", 10 * MS)
    served.got.clear()
    for _ in range(50):
        served.next()
    assert abs(served.got["early"] - served.got["late"]) <= 30 * MS


def test_those_without_work_are_forgotten() -> None:
    fair = Fairness()
    for number in range(5_000):
        fair.came(str(number))
        assert fair.sent(str(number), 5) == 5
        assert fair.took(str(number), 5, 7) == 2
        fair.left(str(number))
    assert len(fair.served) < 4_200
    assert S
