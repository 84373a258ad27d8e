"""The twin's world: both brains over a trace in virtual time.

The fast brain (`Dispatch`) decides about each arrival, the slow brain (`plan`) once a round, exactly as the shells of a
cloud call them; the fleet that carries it out is simulated. Deterministic: the same scenario gives the same outcome.
"""

import random
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from headrace.policy import schedule
from headrace.policy.actions import Answer, Assign, Plan, Reject
from headrace.policy.activity import Activity
from headrace.policy.choice import Choices
from headrace.policy.dispatch import Dispatch
from headrace.policy.keepalive import Keepalive
from headrace.policy.plan import plan
from headrace.policy.planning import Learned
from headrace.policy.sizing import ByWork
from headrace.state.request import BATCH
from headrace.state.table import Table
from headrace.twin.events import DRAINED, FAULT, JUDGE, LOSS, NOTICE, READY, RETURN, ROUND, STEP, Events
from headrace.twin.fleet import Running, SimFleet, route_models, route_tenants
from headrace.twin.market import Market
from headrace.twin.requests import Requests
from headrace.twin.rollouts import JUDGE_US, SimRollouts
from headrace.twin.scenario import Scenario
from headrace.twin.shadows import Shadows
from headrace.units import US_PER_HOUR

AFTER_US: Final = US_PER_HOUR  # how long the last requests may take once the trace is over
BATCH_HELD: Final = 64  # batch requests of a model that wait in the gateway; whoever runs the job keeps the others
PENDING, SERVED, REFUSED, FAILED, TOO_LONG = range(5)
Progress = Callable[[int, int], None]


def _nothing(done: int, of: int) -> None:
    """Nobody looks on."""


class World:
    """One run. `first_us`, `end_us` and `share_us` are by request: moments, 0 for never, and time that it cost.

    `by` is the number of the version that it was sent to last, as in `numbers`, 0 for none.
    """

    def __init__(self, scenario: Scenario, progress: Progress = _nothing) -> None:
        trace = scenario.trace
        count = len(trace)
        self.scenario = scenario
        self.fleet = SimFleet(scenario.catalog, scenario.behaviours, scenario.billing_min_us)
        self.first_us = array("q", bytes(8 * count))
        self.end_us = array("q", bytes(8 * count))
        self.share_us = array("d", bytes(8 * count))
        self.fate = bytearray(count)
        self.by = array("H", bytes(2 * count))
        names = sorted({model.version for model in scenario.catalog.models})
        self.numbers = {version: number for number, version in enumerate(names, 1)}
        self.log: list[tuple[int, str, str, str]] = []  # moment, what, about whom, why
        self.counts = self.fleet.counts
        self.now_us = 0
        self._progress = progress
        self._events = Events()
        self._push = self._events.push
        self._choices = Choices(lambda model, pool: scenario.speeds.get((model.key, pool.name)))
        self.rollouts = SimRollouts(scenario, self._events, self._note, self._choices.stands)
        self._watched = self.rollouts.watched
        self._dispatch = Dispatch()
        self._activity = Activity()
        self._random = random.Random(scenario.seed)  # noqa: S311 - chance of a simulation, by its seed
        self._market = Market(scenario, self.fleet, self._events, self._note, self._taken)
        self._revision = 0
        self._requests = Requests(scenario)
        self._models, self._priorities = self._requests.models, self._requests.priorities
        self.shadows = Shadows(
            self._requests, self._dispatch, self.fleet, self.rollouts, self._events, scenario.batch_patience_us
        )
        self._copies = self.shadows.first  # the number of the first request's copy
        self._route_models = route_models(self.rollouts.catalog, scenario.rates, scenario.boot_us)
        self._route_tenants = route_tenants(scenario.catalog.tenants, trace.tenants)
        self._keepalive = Keepalive()
        self._jobs: dict[str, deque[int]] = {}  # batch requests that were not asked yet, by model
        self._offered = dict.fromkeys(scenario.names, 0)  # of them in the gateway, not at work
        self._pending = 0  # requests of other classes without a fate

    def run(self) -> None:
        """From the first arrival to the last end. Interrupted, what was simulated up to then stands."""
        scenario, events, arrived = self.scenario, self._events.queue, self._requests.arrived
        count, at, over_us = len(arrived), 0, scenario.trace.span_us + AFTER_US
        self.fleet.warm(scenario.warm)
        self._table(0)
        self._market.open()
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
                due_us, _, kind, one, stamp = self._events.pop()
                self.now_us = int(due_us)
                if kind == STEP:
                    assert one is not None, "a step is of a replica"
                    if one.engine.stamp == stamp:
                        self._step(one, due_us)
                elif kind == ROUND:
                    self._progress(at, count)
                    self._round(regular=not stamp)
                elif kind == JUDGE:
                    self._judge()
                    if self.rollouts.under_way:
                        self._push(self.now_us + JUDGE_US, JUDGE)
                elif kind in (LOSS, RETURN, NOTICE):
                    self._market.happen(kind, stamp, self.now_us)
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
        if self._requests.too_long[at]:
            self.fate[at], self.end_us[at] = TOO_LONG, self.now_us
        elif self._priorities[at] != BATCH:
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
            left_us = self._requests.arrived[at] + self.scenario.batch_patience_us - self.now_us
            if left_us <= 0:
                self._fated(at, REFUSED)
            else:
                self._offered[model] += 1
                self._ask(at, left_us)

    def _ask(self, at: int, patience_us: int) -> None:
        request = self._requests.request(at, self.now_us, patience_us)
        self._act(self._dispatch.arrive(request, self.now_us))
        if self._dispatch.shed:
            shed, self._dispatch.shed = self._dispatch.shed, []
            self._act_all(shed)
        if self.shadows.watched and self.fate[at] != REFUSED:
            self._act_all(self.shadows.follow(at, self.now_us))

    def _act(self, answer: Answer) -> None:
        at = int(answer.request)
        if at >= self._copies:
            self._act_all(self.shadows.act(answer, self.now_us))
        elif isinstance(answer, Assign):
            if self._priorities[at] == BATCH:
                self._offered[self._models[at]] -= 1
            one = self.fleet.running[answer.replica]
            version = one.lease.version
            self.by[at] = self.numbers[version]
            if self._requests.refused(at, version):
                self._fated(at, TOO_LONG)
                self._act_all(self._dispatch.ended(answer.request, self.now_us, ok=False))
                return
            if self._watched and self._models[at] in self._watched:
                self.rollouts.sent(at, self.now_us)
            prompt_us, inputs = self._requests.prompt_us(at, one), self._requests.inputs[at]
            self.share_us[at] += prompt_us
            self._events.give(one, at, (prompt_us, inputs, self._requests.outputs(at, version)), self.now_us)
        elif isinstance(answer, Reject):
            if self._priorities[at] == BATCH:
                self._offered[self._models[at]] -= 1
            self._fated(at, REFUSED)
        else:
            if answer.cold:
                self.rollouts.held(at)
            if answer.wake:
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
        if first >= self._copies:
            self._act_all(self.shadows.begun(first, now_us + engine.late_us, now_us))
        elif first >= 0 and not self.first_us[first]:
            self.first_us[first] = now_us + engine.late_us
            if answers := self._dispatch.begun(str(first), now_us):
                self._act_all(answers)
        if ended >= 0:
            if ended >= self._copies:
                self._act_all(self.shadows.ended(ended, one, share_us, now_us))
            else:
                self._ended(one, ended, share_us)
            if one.until_us and not engine.running:
                self.fleet.end(one, now_us, "drained")
                self._table(now_us)

    def _ended(self, one: Running, at: int, share_us: float) -> None:
        """The last token is out; of one that its version fails, an error is."""
        engine, now_us, model, version = one.engine, self.now_us, one.lease.model, one.lease.version
        ok = not self._requests.broken(at, version)
        self._fated(at, SERVED if ok else FAILED)
        self.end_us[at] += engine.late_us
        self.share_us[at] += share_us
        if not ok:
            self.first_us[at] = 0
        if self._watched and model in self._watched:
            self._heard(at, one, ok=ok)
        if ok:
            decode_us = self.end_us[at] - self.first_us[at] if self._priorities[at] != BATCH else 0
            asked = self._requests.inputs[at] if self._priorities[at] != BATCH else 0
            outputs = self._requests.outputs(at, version)
            self._dispatch.answered(model, version, outputs, decode_us=decode_us, fresh=asked)
        answers = self._dispatch.ended(str(at), now_us, ok)
        if answers:
            self._act_all(answers)
        if self._jobs.get(model):
            self._feed(model)

    def _heard(self, at: int, one: Running, *, ok: bool) -> None:
        """Who judges versions is told what a request came to."""
        asked = self._requests
        tokens = asked.inputs[at], asked.outputs(at, one.lease.version) if ok else 0
        moments = asked.arrived[at], self.first_us[at], self.end_us[at]
        self.rollouts.ended(at, one.lease, moments, tokens, ok=ok)

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
            if one.lease.model in self._watched:
                self._judge()
        elif kind == DRAINED and one.until_us and now_us >= one.until_us:
            self._die(one, "its drain was over", crashed=False)
        elif kind == FAULT:
            del stamp
            self._die(one, "it failed, by the scenario's chance", crashed=True)

    def _taken(self, one: Running, why: str) -> None:
        self._die(one, why, crashed=False)

    def _die(self, one: Running, why: str, *, crashed: bool) -> None:
        now_us, hit = self.now_us, one.engine.requests()
        self._note("died", one.replica.id, why)
        one.engine.stamp += 1
        self.fleet.end(one, now_us, why)
        self._table(now_us)
        for at in sorted(hit):
            if at >= self._copies:
                self._act_all(self.shadows.lost(at, one, now_us, crashed=crashed))
            elif self.first_us[at]:  # its client has seen the beginning: it cannot be asked again
                self._fated(at, FAILED)
                if self._watched and self._models[at] in self._watched:
                    self._heard(at, one, ok=False)
                self._act_all(self._dispatch.left(str(at), now_us))
            else:
                if self._priorities[at] == BATCH:
                    self._offered[self._models[at]] += 1  # it waits again, or is counted out when it is at work
                self._act(self._dispatch.lost(str(at), now_us, crashed=crashed))

    def _round(self, *, regular: bool) -> None:
        """What the controller does every so often, and at once when a gateway wakes it."""
        scenario, now_us = self.scenario, self.now_us
        if self.rollouts.begin(self.fleet.seen(now_us), now_us):
            self._retold()
        self._act_all(self._dispatch.tick(now_us))
        for model in self._jobs:
            self._feed(model)
        reported = {demand.key: demand for demand in self._dispatch.demand(now_us)}
        demand = self._activity.demand(self.rollouts.catalog, reported, now_us)
        scenario.sizing.note(self._choices.parted(demand), now_us, scenario.wall_us + now_us)
        wanted, fleet = self.rollouts.catalog, self.fleet.seen(now_us)
        if isinstance(scenario.sizing, ByWork):  # the others have no say in where a replica stands
            trying = self.rollouts.policy.under_way
            wanted = self._choices.over(wanted, demand, fleet, scenario.sizing, now_us, trying)
            for key, why in self._choices.moves.items():
                self._note("move", key, why)
            if self._choices.retold:
                self._retold()
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
        self.fleet.count(now_us)
        self.rollouts.holds = made.holds
        self._judge()
        if regular:
            self._push(now_us + scenario.round_us, ROUND, None, 0)

    def _judge(self) -> None:
        """Versions on their way, by what they did; with the weights that follow of it."""
        if self._watched and self.rollouts.judge(self.fleet.seen(self.now_us), self.now_us):
            self._retold()

    def _retold(self) -> None:
        """Gateways are told of models as they are now."""
        rates = {**self.scenario.rates, **self._choices.rates}
        boots_us, divided = self.scenario.boot_us, self._choices.cuts
        self._route_models = route_models(self.rollouts.catalog, rates, boots_us, divided)
        self.shadows.watch(self._route_models)
        self._table(self.now_us)

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

    # --- leaves --------------------------------------------------------------------------------------------------

    def _table(self, now_us: int) -> None:
        self._revision += 1
        models, tenants, replicas = self._route_models, self._route_tenants, self.fleet.routes()
        table = Table(revision=self._revision, models=models, replicas=replicas, keys=(), tenants=tenants)
        self._act_all(self._dispatch.update(table, now_us))

    def _busy(self) -> bool:
        return self._pending > 0

    def _note(self, what: str, who: str, why: str) -> None:
        self.log.append((self.now_us, what, who, why))
