"""The twin's world: both brains over a trace in virtual time.

The fast brain (`Dispatch`) decides about each arrival, the slow brain (`plan`) once a round, exactly as the shells of a
cloud call them; the fleet that carries it out is simulated. Deterministic: the same scenario gives the same outcome.
"""

import heapq
import random
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from headrace.policy import placement, schedule
from headrace.policy.actions import Answer, Assign, Plan, Reject, Start
from headrace.policy.activity import Activity
from headrace.policy.choice import Choices
from headrace.policy.dispatch import Dispatch
from headrace.policy.keepalive import Keepalive
from headrace.policy.plan import plan
from headrace.policy.planning import Learned, replica_id
from headrace.policy.sizing import ByWork
from headrace.state.request import BATCH, Request
from headrace.state.table import Table
from headrace.twin.fleet import Running, SimFleet, route_models
from headrace.twin.prefixes import Paths
from headrace.twin.scenario import Scenario
from headrace.units import US_PER_DAY, US_PER_HOUR, format_us

AFTER_US: Final = US_PER_HOUR  # how long the last requests may take once the trace is over
BATCH_HELD: Final = 64  # batch requests of a model that wait in the gateway; whoever runs the job keeps the others
STEP, READY, ROUND, DRAINED, FAULT, LOSS, RETURN, NOTICE = range(8)
PENDING, SERVED, REFUSED, FAILED = range(4)
Progress = Callable[[int, int], None]


def _nothing(done: int, of: int) -> None:
    """Nobody looks on."""


class World:
    """One run. `first_us`, `end_us` and `share_us` are by request: moments, -1 for never, and time that it cost."""

    def __init__(self, scenario: Scenario, progress: Progress = _nothing) -> None:
        trace = scenario.trace
        count = len(trace)
        self.scenario = scenario
        self.fleet = SimFleet(scenario.catalog, scenario.behaviours, scenario.billing_min_us)
        self.first_us = array("q", bytes(8 * count))
        self.end_us = array("q", bytes(8 * count))
        self.share_us = array("d", bytes(8 * count))
        self.fate = bytearray(count)
        self.pools = bytearray(count)
        self.log: list[tuple[int, str, str, str]] = []  # moment, what, about whom, why
        self.counts: list[tuple[int, str, int, int]] = []  # moment, model, replicas, ready
        self.now_us = 0
        self._progress = progress
        self._dispatch = Dispatch()
        self._activity = Activity()
        self._random = random.Random(scenario.seed)  # noqa: S311 - chance of a simulation, by its seed
        self._events: list[tuple[float, int, int, Running | None, int]] = []
        self._number = 0
        self._revision = 0
        self._arrived: list[int] = trace.arrival_us.tolist()
        self._inputs: list[int] = trace.input_tokens.tolist()
        self._outputs: list[int] = trace.output_tokens.tolist()
        self._models: list[str] = [scenario.names[place] for place in trace.model.tolist()]
        self._tenants: list[int] = trace.tenant.tolist()
        self._priorities: list[int] = trace.priority.tolist()
        self._prefixes: list[int] = trace.prefix.tolist()
        self._prefix_tokens: list[int] = trace.prefix_tokens.tolist()
        self._paths = Paths(trace.chains)
        self._prompt_us = {place: prompts.tolist() for place, prompts in scenario.prompt_us.items()}
        self._route_models = route_models(scenario.catalog, scenario.rates, scenario.boot_us)
        self._counted: dict[str, tuple[int, int]] = {}
        self._keepalive = Keepalive()
        self._choices = Choices(lambda model, pool: scenario.speeds.get((model.key, pool.name)))
        self._losing: dict[int, int] = {}  # when spot devices are lost, by number
        self._spot: list[tuple[str, float, int, random.Random]] = []  # device, losses a microsecond, notice, its chance
        self._jobs: dict[str, deque[int]] = {}  # batch requests that were not asked yet, by model
        self._offered = dict.fromkeys(scenario.names, 0)  # of them in the gateway, not at work
        self._pending = 0  # requests of other classes without a fate

    def run(self) -> None:
        """From the first arrival to the last end. Interrupted, what was simulated up to then stands."""
        scenario, events, arrived = self.scenario, self._events, self._arrived
        count, at, over_us = len(arrived), 0, scenario.trace.span_us + AFTER_US
        self._warm()
        self._table(0)
        self._losses()
        self._push(0, ROUND, None, 0)
        try:
            while events:
                due_us = events[0][0]
                if at < count and arrived[at] <= due_us:
                    self.now_us = arrived[at]
                    self._arrive(at)
                    at += 1
                    continue
                if due_us > over_us or (at >= count and due_us > scenario.trace.span_us and not self._busy()):
                    break
                due_us, _, kind, one, stamp = heapq.heappop(events)
                self.now_us = int(due_us)
                if kind == STEP:
                    assert one is not None, "a step is of a replica"
                    if one.engine.stamp == stamp:
                        self._step(one, due_us)
                elif kind == ROUND:
                    self._progress(at, count)
                    self._round(regular=not stamp)
                elif kind in (LOSS, RETURN, NOTICE):
                    self._market(kind, stamp)
                else:
                    assert one is not None, "all else is of a replica, too"
                    self._turn(kind, one, stamp)
            self.now_us = max(self.now_us, scenario.trace.span_us)
        finally:
            self.fleet.close(self.now_us)
        self._progress(at, count)
        for left, fate in enumerate(self.fate):  # nobody waits for batch work that is left when the trace is over
            if fate == PENDING:
                self.fate[left], self.end_us[left] = REFUSED, self.now_us

    # --- requests ------------------------------------------------------------------------------------------------

    def _arrive(self, at: int) -> None:
        if self._priorities[at] != BATCH:
            self._pending += 1
            self._ask(at, self.scenario.patience_us)
        else:
            self._jobs.setdefault(self._models[at], deque()).append(at)
            self._feed(self._models[at])

    def _feed(self, model: str) -> None:
        """Batch work comes as a job's runner brings it: a few wait in the gateway, and the next ones after them."""
        job = self._jobs[model]
        while job and self._offered[model] < BATCH_HELD:
            at = job.popleft()
            left_us = self._arrived[at] + self.scenario.batch_patience_us - self.now_us
            if left_us <= 0:
                self._fated(at, REFUSED)
            else:
                self._offered[model] += 1
                self._ask(at, left_us)

    def _ask(self, at: int, patience_us: int) -> None:
        prefix = self._paths.root(self._prefixes[at])  # gateways know a prompt by how it begins
        request = Request(
            id=str(at),
            tenant=str(self._tenants[at]),
            key="",
            model=self._models[at],
            task="chat",
            input_tokens=self._inputs[at],
            output_tokens_max=1 << 20,
            arrived_us=self.now_us,
            deadline_us=self.now_us + patience_us,
            prefix_hash=prefix + 1 if prefix >= 0 else 0,
            priority=self._priorities[at],
        )
        self._act(self._dispatch.arrive(request, self.now_us))
        if self._dispatch.shed:
            shed, self._dispatch.shed = self._dispatch.shed, []
            self._act_all(shed)

    def _act(self, answer: Answer) -> None:
        if isinstance(answer, Assign):
            at = int(answer.request)
            if self._priorities[at] == BATCH:
                self._offered[self._models[at]] -= 1
            one = self.fleet.running[answer.replica]
            prompt_us = self._prompt_us[one.lease.version, one.lease.pool][at]
            if self._prefixes[at] >= 0:
                cached = one.engine.kept.take(self._paths.of(self._prefixes[at], self._prefix_tokens[at]))
                prompt_us = one.engine.prompt_us(self._inputs[at], cached) if cached else prompt_us
            self.share_us[at] += prompt_us
            stamp = one.engine.stamp
            one.engine.add(at, prompt_us, self._inputs[at], self._outputs[at], self.now_us)
            if one.engine.stamp != stamp:
                self._push(one.engine.due_us, STEP, one, one.engine.stamp)
        elif isinstance(answer, Reject):
            at = int(answer.request)
            if self._priorities[at] == BATCH:
                self._offered[self._models[at]] -= 1
            self._fated(at, REFUSED)
        elif answer.wake:
            self._push(self.now_us, ROUND, None, 1)

    def _fated(self, at: int, fate: int) -> None:
        self.fate[at], self.end_us[at] = fate, self.now_us
        self._pending -= self._priorities[at] != BATCH

    def _act_all(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self._act(answer)

    def _step(self, one: Running, due_us: float) -> None:
        engine = one.engine
        first, ended, share_us = engine.happen(due_us)
        now_us = self.now_us
        if engine.due_us < 1 << 62:
            self._push(engine.due_us, STEP, one, engine.stamp)
        if first >= 0 and not self.first_us[first]:
            self.first_us[first] = now_us + engine.late_us
        if ended >= 0:
            self._fated(ended, SERVED)
            self.end_us[ended] += engine.late_us
            self.share_us[ended] += share_us
            decode_us = self.end_us[ended] - self.first_us[ended] if self._priorities[ended] != BATCH else 0
            asked = self._inputs[ended] if self._priorities[ended] != BATCH else 0
            self._dispatch.answered(
                one.lease.model, one.lease.version, self._outputs[ended], decode_us=decode_us, fresh=asked
            )
            answers = self._dispatch.ended(str(ended), now_us)
            if answers:
                self._act_all(answers)
            if self._jobs.get(one.lease.model):
                self._feed(one.lease.model)
            if one.until_us and not engine.running:
                self.fleet.end(one, now_us, "drained")
                self._table(now_us)

    # --- replicas ------------------------------------------------------------------------------------------------

    def _turn(self, kind: int, one: Running, stamp: int) -> None:
        """A replica has booted, has no more time to drain, or dies."""
        now_us, name = self.now_us, one.replica.id
        if self.fleet.running.get(name) is not one:
            return
        if kind == READY and one.replica.phase in ("starting", "waking"):
            self.fleet.ready(one, now_us)
            self._table(now_us)
            self._note("ready", name, "")
        elif kind == DRAINED and one.until_us and now_us >= one.until_us:
            self._die(one, "its drain was over", crashed=False)
        elif kind == FAULT:
            del stamp
            self._die(one, "it failed, by the scenario's chance", crashed=True)

    def _losses(self) -> None:
        """Each spot device has chances of its own, so that the market is the same whatever a policy does."""
        for device in self.fleet.seen(0).devices:
            pool = self.scenario.catalog.pool(device.pool)
            if pool is not None and pool.loss_ppm_per_day:
                chance = random.Random(f"{self.scenario.seed} {device.device}")  # noqa: S311 - as above
                per_us = pool.loss_ppm_per_day / 1_000_000 / US_PER_DAY
                self._spot.append((device.device, per_us, pool.notice_us, chance))
                self._market(RETURN, len(self._spot) - 1)

    def _market(self, kind: int, number: int) -> None:
        """A spot device is taken away, or can be had again."""
        device, per_us, notice_us, chance = self._spot[number]
        if kind == RETURN:
            if self.now_us:
                self._note("spot.back", device, "it can be had again")
            self.fleet.give_back(device)
            lost_us = self.now_us + chance.expovariate(per_us)
            self._push(lost_us, LOSS, None, number)
            if notice_us:
                self._losing[number] = int(lost_us)
                self._push(max(self.now_us, lost_us - notice_us), NOTICE, None, number)
            return
        if kind == NOTICE:
            self._note(
                "spot.notice", device, f"it will be taken away in {format_us(self._losing[number] - self.now_us)}"
            )
            self.fleet.doom(device, self._losing[number])
            self._push(self.now_us, ROUND, None, 1)
            return
        self._note("spot.lost", device, "it was taken away, by the scenario's chance")
        for one in self.fleet.take_away(device):
            self._die(one, f"spot device {device} was taken away", crashed=False)
        self._push(self.now_us + chance.expovariate(1 / self.scenario.spot_away_us), RETURN, None, number)

    def _die(self, one: Running, why: str, *, crashed: bool) -> None:
        now_us, hit = self.now_us, one.engine.requests()
        self._note("died", one.replica.id, why)
        one.engine.stamp += 1
        self.fleet.end(one, now_us, why)
        self._table(now_us)
        for at in sorted(hit):
            if self.first_us[at]:  # its client has seen the beginning: it cannot be asked again
                self._fated(at, FAILED)
                self._act_all(self._dispatch.left(str(at), now_us))
            else:
                if self._priorities[at] == BATCH:
                    self._offered[self._models[at]] += 1  # it waits again, or is counted out when it is at work
                self._act(self._dispatch.lost(str(at), now_us, crashed=crashed))

    def _round(self, *, regular: bool) -> None:
        """What the controller does every so often, and at once when a gateway wakes it."""
        scenario, now_us = self.scenario, self.now_us
        self._act_all(self._dispatch.tick(now_us))
        for model in self._jobs:
            self._feed(model)
        reported = {demand.key: demand for demand in self._dispatch.demand(now_us)}
        demand = self._activity.demand(scenario.catalog, reported, now_us)
        scenario.sizing.note(self._choices.parted(demand), now_us, scenario.wall_us + now_us)
        wanted, fleet = scenario.catalog, self.fleet.seen(now_us)
        if isinstance(scenario.sizing, ByWork):  # the others have no say in where a replica stands
            wanted = self._choices.over(wanted, demand, fleet, scenario.sizing, now_us)
            for key, why in self._choices.moves.items():
                self._note("move", key, why)
            if self._choices.retold:
                rates = {**scenario.rates, **self._choices.rates}
                self._route_models = route_models(scenario.catalog, rates, scenario.boot_us, self._choices.cuts)
                self._table(now_us)
        wanted = schedule.over(wanted, scenario.boot_us, scenario.wall_us + now_us)
        wanted = self._keepalive.over(wanted, demand, scenario.boot_us, now_us, scenario.wake_us)
        learned = Learned(scenario.boot_us, self._keepalive.gaps, self._choices.homes, scenario.wake_us)
        made = plan(wanted, fleet, demand, now_us, scenario.sizing, learned)
        for stop in made.stops:
            one = self.fleet.running.get(stop.replica)
            if one is None:
                continue
            self._note("stop", stop.replica, stop.reason)
            self.fleet.drain(one, now_us + max(1, stop.drain_us), now_us)
            if one.engine.running:
                self._push(one.until_us, DRAINED, one, 0)
            else:
                self.fleet.end(one, now_us, stop.reason)
        self._turn_over(made)
        for start in made.starts:
            one = self.fleet.start(start, now_us)
            self._note("start", start.replica, start.reason)
            boot_us = scenario.behaviours[f"{start.model}@{start.version}", start.pool].boot_us
            self._push(now_us + boot_us, READY, one, 0)
            hours = scenario.mtbf_hours
            if hours:
                self._push(now_us + self._random.expovariate(1 / hours) * US_PER_HOUR, FAULT, one, 0)
        if not made.quiet:
            self._table(now_us)
        if made.sleeps:  # what they gave is there at once: who waits for it need not wait for the next round
            self._push(now_us, ROUND, None, 1)
        self._count()
        if regular:
            self._push(now_us + scenario.round_us, ROUND, None, 0)

    def _turn_over(self, made: Plan) -> None:
        """Those that fall asleep, and those that wake. One that was given work meanwhile stays awake."""
        now_us = self.now_us
        for rest in made.sleeps:
            one = self.fleet.running[rest.replica]
            if not one.engine.running:
                self._note("sleep", rest.replica, rest.reason)
                self.fleet.sleep(one, rest.reason, now_us)
        for wake in made.wakes:
            one = self.fleet.running[wake.replica]
            self._note("wake", wake.replica, wake.reason)
            self.fleet.wake(one, wake.reason, now_us)
            self._push(now_us + self.scenario.wake_us[one.replica.key], READY, one, 0)

    def _warm(self) -> None:
        """Replicas that are there when the trace begins: those a plan starts for it, as many as will fit."""
        for key, count in self.scenario.warm.items():
            for _ in range(count):
                model = self.scenario.catalog.model(key)
                device = placement.Space.of(self.fleet.seen(0)).find(model) if model is not None else None
                if model is None or device is None:
                    break
                name = replica_id(model, set(self.fleet.running))
                start = Start(name, model.name, model.version, device.pool, device.node, device.device, "was there")
                self.fleet.ready(self.fleet.start(start, 0), 1)  # 0 would say never

    # --- leaves --------------------------------------------------------------------------------------------------

    def _table(self, now_us: int) -> None:
        self._revision += 1
        table = Table(revision=self._revision, models=self._route_models, replicas=self.fleet.routes(), keys=())
        self._act_all(self._dispatch.update(table, now_us))

    def _push(self, at_us: float, kind: int, one: Running | None, stamp: int) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_us, self._number, kind, one, stamp))

    def _busy(self) -> bool:
        return self._pending > 0

    def _count(self) -> None:
        """How many replicas there are, whenever that has changed."""
        found: dict[str, tuple[int, int]] = {}
        for one in self.fleet.running.values():
            have, ready = found.get(one.replica.key, (0, 0))
            found[one.replica.key] = have + 1, ready + (one.replica.phase == "ready")
        for key in found.keys() | self._counted.keys():
            if found.get(key, (0, 0)) != self._counted.get(key, (0, 0)):
                self.counts.append((self.now_us, key, *found.get(key, (0, 0))))
        self._counted = found

    def _note(self, what: str, who: str, why: str) -> None:
        self.log.append((self.now_us, what, who, why))
