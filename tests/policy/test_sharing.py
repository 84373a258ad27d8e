"""A tenant's share is one share over all workers, however its requests are spread over them."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy.actions import Assign, Reject, Wait
from headrace.policy.dispatch import Dispatch
from headrace.policy.fairness import Front
from headrace.policy.sharing import FRESH_US, GIVE_US, MEET_US, TOLERANCE_US, Row, SharedFairness
from headrace.state.request import BATCH, FLEX, INTERACTIVE
from headrace.state.table import RouteTenant
from tests.policy.cloud import S, replica, request, route, table

MS = 1_000
LOOK_US = 2 * MS


class Told:
    """Rows of all workers; what one of them sees is `Seen`."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Row]] = defaultdict(dict)


class Seen:
    """`sharing.Rows` as one worker has them."""

    def __init__(self, told: Told, index: int) -> None:
        self.told, self.index = told, index

    def put(self, name: str, row: Row) -> None:
        self.told.rows[name][self.index] = row

    def own(self, name: str) -> Row | None:
        return self.told.rows[name].get(self.index)

    def others(self, name: str, *, present: bool = False) -> list[Row]:
        rows = self.told.rows[name].items()
        return [row for index, row in rows if index != self.index and (row[0] or not present)]


class Workers:
    """Several workers before one replica, in virtual time. Each client sends its next request when its last has ended.

    `got` is the slot time each tenant was served, `idle_us` slot time that nobody used while somebody waited.
    """

    def __init__(self, workers: int, slots: int, weights: Sequence[int] = ()) -> None:
        told = Told()
        tenants = [RouteTenant(name=str(place), weight=weight) for place, weight in enumerate(weights)]
        self.slots = slots
        self.brains = [Dispatch(rows=Seen(told, index)) for index in range(workers)]
        for brain in self.brains:
            brain.update(table(route(queue_max=10_000), replica("r1", slots=slots), *tenants), 0)
        self.now_us = self.idle_us = 0
        self.got: dict[str, int] = defaultdict(int)
        self.flying = [0] * workers
        self.overcommitted = 0
        self._looked = [-S] * workers
        self._met = [-S] * workers
        self._times: dict[str, tuple[int, str, int]] = {}
        self._numbers = itertools.count()
        self._events: list[tuple[int, int, str, int, str]] = []
        for index in range(workers):
            self._at(index * 7 * MS % MEET_US, "tick", index, "")

    def ask(self, worker: int, tenant: str, took_us: int, priority: int = INTERACTIVE) -> None:
        name = str(next(self._numbers))
        self._times[name] = worker, tenant, took_us
        self._look(worker)
        asked = request(name, tenant=tenant, deadline_us=1 << 60, priority=priority)
        self._see(worker, [self.brains[worker].arrive(asked, self.now_us)])

    def run(self, until_us: int, again) -> None:
        """Go on; `again(worker, tenant)` says how long the next request of a client that was answered takes."""
        while self._events and self._events[0][0] <= until_us:
            at_us, _, what, worker, name = heapq.heappop(self._events)
            if any(brain.held for brain in self.brains):
                self.idle_us += (at_us - self.now_us) * max(0, self.slots - sum(self.flying))
            self.now_us = at_us
            if what == "tick":
                self._look(worker)
                self._see(worker, self.brains[worker].tick(self.now_us))
                self._at(self.now_us + MEET_US, "tick", worker, "")
                continue
            _, tenant, took_us = self._times.pop(name)
            self.got[tenant] += took_us
            self.flying[worker] -= 1
            self._see(worker, self.brains[worker].ended(name, self.now_us))
            next_us = again(worker, tenant)
            if next_us:
                self.ask(worker, tenant, next_us)

    def _at(self, at_us: int, what: str, worker: int, name: str) -> None:
        heapq.heappush(self._events, (at_us, next(self._numbers), what, worker, name))

    def _look(self, worker: int) -> None:
        if self.now_us - self._looked[worker] < LOOK_US:
            return
        self._looked[worker] = self.now_us
        self.brains[worker].others({"r1": sum(self.flying) - self.flying[worker]})
        if self.now_us - self._met[worker] >= MEET_US:
            self._met[worker] = self.now_us
            self.brains[worker].meet(self.now_us)

    def _see(self, worker: int, answers: list) -> None:
        for answer in answers:
            if isinstance(answer, Assign):
                self.flying[worker] += 1
                self.overcommitted = max(self.overcommitted, sum(self.flying) - self.slots)
                self._at(self.now_us + self._times[answer.request][2], "end", worker, answer.request)


@settings(max_examples=25, deadline=None)
@given(
    slots=st.integers(1, 6),
    clients=st.lists(st.lists(st.integers(0, 12), min_size=4, max_size=4), min_size=2, max_size=3),
    times=st.lists(st.lists(st.integers(10, 600), min_size=1, max_size=4), min_size=3, max_size=3),
    weights=st.one_of(st.just([1] * 3), st.lists(st.integers(1, 100), min_size=3, max_size=3)),
    workers=st.integers(2, 4),
)
def test_the_gap_over_all_workers_is_bounded(
    slots: int, clients: list[list[int]], times: list[list[int]], weights: list[int], workers: int
) -> None:
    """By weight. `clients[tenant][worker]`; each tenant has more of them than there are slots, so that one waits."""
    cloud = Workers(workers, slots, weights)
    turns = {str(number): itertools.cycle(own) for number, own in enumerate(times)}
    for number, spread in enumerate(clients):
        spread = spread[:workers]
        spread[number % workers] += max(0, slots + 1 - sum(spread))
        for worker, count in enumerate(spread):
            for _ in range(count):
                cloud.ask(worker, str(number), next(turns[str(number)]) * MS)
    longest_us = max(max(own) for own in times[: len(clients)]) * MS
    bound_us = TOLERANCE_US + 3 * slots * (longest_us + MEET_US)
    for second in range(1, 9):
        cloud.run(second * S, lambda _, tenant: next(turns[tenant]) * MS)
        got = [cloud.got[str(number)] / weights[number] for number in range(len(clients))]
        assert max(got) - min(got) <= bound_us


def test_one_of_many_clients_on_one_worker_and_one_of_few_on_another_get_the_same() -> None:
    """The greedy one holds every slot before the modest one comes; alone, each worker would let it keep them."""
    cloud = Workers(2, 8)
    for _ in range(60):
        cloud.ask(0, "greedy", 100 * MS)
    cloud.run(2 * S, lambda *_: 100 * MS)
    for _ in range(10):
        cloud.ask(1, "modest", 100 * MS)
    cloud.got.clear()
    cloud.run(32 * S, lambda *_: 100 * MS)
    assert abs(cloud.got["greedy"] - cloud.got["modest"]) <= 0.03 * cloud.got["greedy"]
    assert sum(cloud.got.values()) >= 0.97 * 30 * S * 8  # and next to no slot was left free for it


def test_a_weight_holds_over_all_workers() -> None:
    """One of weight 3 at one worker, and one of weight 1 with more clients at both."""
    cloud = Workers(2, 4, [3, 1])
    for worker, tenant, clients in ((0, "0", 8), (0, "1", 10), (1, "1", 10)):
        for _ in range(clients):
            cloud.ask(worker, tenant, 40 * MS)
    cloud.run(40 * S, lambda *_: 40 * MS)
    assert abs(cloud.got["0"] / cloud.got["1"] - 3) <= 0.3
    assert sum(cloud.got.values()) >= 0.95 * 40 * S * 4


def test_short_requests_on_one_slot_lose_little_to_giving_way() -> None:
    cloud = Workers(2, 1)
    for worker, tenant in enumerate(("here", "there")):
        for _ in range(5):
            cloud.ask(worker, tenant, 5 * MS)
    cloud.run(20 * S, lambda *_: 5 * MS)
    assert abs(cloud.got["here"] - cloud.got["there"]) <= 2 * TOLERANCE_US
    assert sum(cloud.got.values()) >= 0.9 * 20 * S


def test_clients_of_one_tenant_wait_alike_at_each_worker() -> None:
    """Closed loops that hold all slots at one worker do not starve those at another."""
    cloud = Workers(2, 4)
    done: dict[int, int] = defaultdict(int)

    def again(worker: int, _: str) -> int:
        done[worker] += 1
        return 50 * MS

    for worker in (0, 0, 0, 0, 1, 1, 1, 1):
        cloud.ask(worker, "t", 50 * MS)
    cloud.run(30 * S, again)
    assert min(done.values()) >= 0.7 * max(done.values())


def test_a_better_class_at_another_worker_comes_first() -> None:
    cloud = Workers(2, 2)
    for _ in range(20):
        cloud.ask(0, "t", 100 * MS, FLEX)
    cloud.run(150 * MS, lambda *_: 0)
    cloud.ask(1, "u", 100 * MS)
    cloud.run(400 * MS, lambda *_: 0)
    assert cloud.got["u"] == 100 * MS
    assert cloud.overcommitted == 0


def test_nothing_is_saved_up_by_being_away_from_all_workers() -> None:
    """And one who comes back at two workers in the same moment is not set back twice."""
    cloud = Workers(2, 2)
    for worker in (0, 1):
        for _ in range(6):
            cloud.ask(worker, "early", 20 * MS)
    cloud.run(10 * S, lambda *_: 20 * MS)
    for worker in (0, 1):
        for _ in range(6):
            cloud.ask(worker, "late", 20 * MS)
    cloud.got.clear()
    cloud.run(20 * S, lambda *_: 20 * MS)
    assert abs(cloud.got["early"] - cloud.got["late"]) <= TOLERANCE_US + 6 * 2 * 20 * MS


def test_one_that_is_at_work_elsewhere_keeps_what_it_is_owed() -> None:
    """It starts at the least counter only when no worker has it at work."""
    told = Told()
    here, there = (SharedFairness("m@v1", Seen(told, index)) for index in (0, 1))
    for fair, tenant, us in ((here, "much", 9 * S), (there, "little", 1 * S)):
        fair.came(tenant)
        fair.sent(tenant, us)
    here.came("little")
    assert here.served["little"] < here.served["much"]
    here.left("little")
    there.left("little")
    here.came("little")
    assert here.served["little"] == here.served["much"]


def test_what_a_worker_served_outlives_it() -> None:
    told = Told()
    one, other = (SharedFairness("m@v1", Seen(told, index)) for index in (0, 1))
    for fair in (one, other):
        fair.came("t")
        fair.sent("t", S)
    again = SharedFairness("m@v1", Seen(told, 0))
    again.came("t")
    assert again.served["t"] == 2 * S


def test_a_silent_sibling_is_believed_for_a_moment_only() -> None:
    told = Told()
    dead, alive = (SharedFairness("m@v1", Seen(told, index)) for index in (0, 1))
    dead.came("poor")
    alive.came("rich")
    alive.sent("rich", 9 * S)
    dead.meet(Front(INTERACTIVE, "poor", 0), 1, S)
    mine = Front(INTERACTIVE, "rich", 0)
    alive.meet(mine, 1, S)
    assert alive.gives_way(mine, S)
    assert alive.gives_way(mine, S + FRESH_US - 1)
    assert not alive.gives_way(mine, S + FRESH_US)


def test_a_slot_that_nobody_takes_is_used() -> None:
    told = Told()
    odd, alive = (SharedFairness("m@v1", Seen(told, index)) for index in (0, 1))
    odd.came("poor")
    alive.came("rich")
    mine, free_for = Front(BATCH, "rich", 0), []
    for at_us in range(S, 2 * S, 10 * MS):
        odd.meet(Front(INTERACTIVE, "poor", 0), 1, at_us)
        alive.meet(mine, 1, at_us)
        if not alive.gives_way(mine, at_us):
            free_for.append(at_us)
    assert free_for == list(range(S + GIVE_US, 2 * S, GIVE_US))


def test_what_waits_at_other_workers_is_before_a_deadline_and_in_retry_after() -> None:
    """One slot, 100 ms each: what cannot begin in time is refused by any worker, wherever the others wait."""
    cloud = Workers(2, 1)
    for worker, count in ((1, 20), (0, 50), (1, 20)):  # first, the worker that is asked learns how long they take
        for _ in range(count):
            cloud.ask(worker, "t", 100 * MS)
        cloud.run(cloud.now_us + 20 * 100 * MS, lambda *_: 0)
    left = sum(brain.held for brain in cloud.brains)
    here = cloud.brains[1]
    asked = request("late", tenant="t", deadline_us=cloud.now_us + (left - 5) * 100 * MS, strict=True)
    refused = here.arrive(asked, cloud.now_us)
    assert isinstance(refused, Reject)
    assert refused.code == "deadline_unreachable"
    assert refused.retry_after_us is not None
    assert abs(refused.retry_after_us - left * 100 * MS) <= 500 * MS
    soon = request("soon", tenant="t", deadline_us=cloud.now_us + (left + 5) * 100 * MS, strict=True)
    assert isinstance(here.arrive(soon, cloud.now_us), Wait)
