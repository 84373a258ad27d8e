"""How many replicas a model should have, by the work that arrives: the slow brain's signal.

Work is time of one replica at the batch that keeps the model's promises (`state.work`), known when a request arrives;
so an arriving second of work a second asks for one replica, whatever waits in front of those that still start. That is
what a count of requests in flight cannot tell: they stay longer the fuller the replicas are, and pile up while others
boot. Pure: `note` once a round, then `desired` as often as a plan asks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Final, Protocol

from headrace.policy import scaling
from headrace.policy.lateness import Lateness
from headrace.policy.levels import CALM_US, Levels
from headrace.policy.most import Most
from headrace.policy.outlook import Expectation, Outlook
from headrace.policy.pace import FULL, Pace
from headrace.policy.scaling import Want
from headrace.specs.catalog import ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Replica
from headrace.units import US_PER_S, format_us

BOOT_US: Final = 30 * US_PER_S  # until one was measured
ROUND_US: Final = 10 * US_PER_S  # between seeing and doing
DRAIN_MIN_US: Final = 10 * US_PER_S  # a backlog is to be worked off in the time of a start, within these
DRAIN_MAX_US: Final = 60 * US_PER_S
SLACK: Final = 0.2  # of a replica, before growing and half of it before shrinking, so that noise moves nothing


class Sizing(Protocol):
    """Decides numbers of replicas. Those of other systems have the same form, to be compared with."""

    def note(self, demand: Mapping[str, Demand], now_us: int, wall_us: int) -> None:
        """What is asked for now, by `name@version`; once a round."""
        ...

    def desired(
        self, model: ModelSpec, have: int, replicas: Sequence[Replica], demand: Demand | None, now_us: int
    ) -> Want:
        """Replicas wanted, where `have` are there or starting. Changes nothing."""
        ...


class BySlots:
    """By requests in flight over slots: where the work of a request is not known."""

    def note(self, demand: Mapping[str, Demand], now_us: int, wall_us: int) -> None:
        """It remembers nothing."""

    def desired(
        self, model: ModelSpec, have: int, replicas: Sequence[Replica], demand: Demand | None, now_us: int
    ) -> Want:
        """As `scaling.desired` says."""
        return scaling.desired(model, have, replicas, demand, now_us)


class _Known:
    """What is known of one model: its outlook, what it needs now, and what it needed lately."""

    __slots__ = (
        "expected", "fresh", "kept_us", "lately", "lateness", "levels", "need", "outlook", "pace", "since_us", "stayed",
        "steady",
    )  # fmt: skip

    def __init__(self, now_us: int) -> None:
        self.since_us = now_us
        self.fresh = False  # a part of a model whose replicas were there for all of it
        self.pace = Pace(now_us)
        self.lateness = Lateness(now_us)
        self.levels = Levels()
        self.kept_us = CALM_US  # one that is not needed any more
        self.outlook = Outlook()
        self.expected = Expectation(0.0, 0.0, 0.0)
        self.need = self.steady = 0.0
        self.lately = Most()  # of what was needed in the calm time,
        self.stayed = Most()  # and of what arrived in the time that one stays

    def part(self, share: float, now_us: int) -> "_Known":
        made = _Known(now_us)
        made.fresh = now_us - self.since_us >= CALM_US  # else nothing is known of what is too much
        made.outlook, made.pace = self.outlook.part(share), copy(self.pace)
        level, peak, sigma = self.expected.level, self.expected.peak, self.expected.sigma
        made.expected = Expectation(share * level, share * peak, share * sigma)
        made.need, made.steady = share * self.need, share * self.steady
        made.lately, made.stayed = self.lately.part(share), self.stayed.part(share)
        return made

    def take(self, steady: float, waiting: float, now_us: int, boot_us: int) -> None:
        self.steady, self.need = steady, steady + waiting
        self.levels.take(steady, SLACK, now_us)
        kept_us = self.levels.kept_us(boot_us + ROUND_US, self.lateness.owed, now_us)
        calm_us = max(CALM_US, boot_us)
        self.kept_us = max(calm_us, kept_us)
        self.lately.take(self.need, now_us, calm_us)
        self.stayed.take(steady, now_us, self.kept_us)

    @property
    def most(self) -> float:
        return max(self.need, self.lately.most, self.stayed.most)


class ByWork:
    """By arriving work, its forecast over a start, its noise, and the backlog.

    Formula: need = (peak + sigma) / full + backlog / drain; grow to ceil(need - 1/5) at once, shrink to
        ceil(most + 1/10), most being of the need in the last minute or start, whichever is longer, and of the need
        without a backlog in as long as `levels` says, by needs that came back and what `lateness` owes; full is what
        `pace` makes of the answers, while more than one replica is needed.
    Units: replicas; peak, and sigma of forecasts over a start, in seconds of work a second; drain is a start's time,
        10 s to 60 s.
    Source: work signal with forecast and hysteresis of the autoscaler comparison in docs/benchmarks.md.
    Assumes: `asked_us` counts all arrivals; a start takes `boot_us`.
    """

    def __init__(self) -> None:
        self.boot_us: dict[str, int] = {}  # how long a start takes, by `name@version`, as measured
        self.tpot_percent: dict[str, int] = {}  # of answers that are to keep their pace, by `name@version`
        self.ttft_percent: dict[str, int] = {}  # of first tokens that are to be in time
        self.able: dict[str, float] = {}  # work of one replica where it is placed, of the replica that work is told in
        self._known: dict[str, _Known] = {}

    def promise(self, models: Iterable[ModelSpec]) -> None:
        """How many answers are to keep their pace, and first tokens to be in time."""
        promised = [(model.key, model.objective) for model in models]
        self.tpot_percent = {key: objective.tpot_percent for key, objective in promised}
        self.ttft_percent = {key: objective.ttft_percent for key, objective in promised}

    def steady(self, key: str) -> float:
        """Replicas that arriving work needs, of those that work is told in; what waits is left out, for it passes."""
        known = self._known.get(key)
        return known.steady if known is not None else 0.0

    def noise(self, key: str) -> float:
        """How much of `steady` is kept for what cannot be foretold, a share of one."""
        known = self._known.get(key)
        if known is None or not known.expected.sigma:
            return 0.0
        return known.expected.sigma / (known.expected.peak + known.expected.sigma)

    def divide(self, key: str, shares: Mapping[str, float], now_us: int) -> None:
        """A model is cut in parts from now on; each begins with what is known of the model, by its share of the work,
        and has what it needs and no more until replicas could have started. Without shares the model is cut no more.
        """
        whole = self._known.get(key)
        for part in [name for name in self._known if name.startswith(f"{key}/")]:
            del self._known[part]
        for part, share in shares.items():
            if whole is not None:
                self._known[part] = whole.part(share, now_us)

    def note(self, demand: Mapping[str, Demand], now_us: int, wall_us: int) -> None:
        """Take what is asked for into the outlooks, of model versions and of their parts (`Demand.of`)."""
        for key, one in demand.items():
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = _Known(now_us)
            boot_us = self.boot_us.get(one.key, BOOT_US)
            known.outlook.note(one.asked_us, now_us, wall_us)
            expected = known.expected = known.outlook.expect(boot_us + ROUND_US, wall_us)
            drain_us = min(max(boot_us, DRAIN_MIN_US), DRAIN_MAX_US)
            if one.key in self.tpot_percent:
                promised = self.tpot_percent[one.key] / 100
                known.pace.look(one.paced, one.slow, promised, now_us, tells=known.need > 1)
            if one.key in self.ttft_percent:
                promised = self.ttft_percent[one.key] / 100
                known.lateness.look(one.begun, one.late, promised, now_us)
            steady = (expected.peak + expected.sigma) / known.pace.full
            known.take(steady, one.backlog_us / drain_us, now_us, boot_us)

    def desired(
        self, model: ModelSpec, have: int, replicas: Sequence[Replica], demand: Demand | None, now_us: int
    ) -> Want:
        """Replicas for the work; where none is known or nothing is asked, as slots and idle times say."""
        key = demand.of if demand is not None else model.key
        known = self._known.get(key)
        if known is None or demand is None or not known.outlook.told:
            if have and known is not None and now_us - known.since_us < CALM_US and scaling.busy(demand):
                return Want(
                    max(model.scaling.min_replicas, have), "kept: too little was seen to tell that it is too much"
                )
            return scaling.desired(model, have, replicas, demand, now_us)
        idle_us = model.scaling.idle_to_zero_us
        over = idle_us is not None and now_us - demand.last_us >= idle_us
        if (known.most < 0.001 or over) and not scaling.busy(demand):
            return scaling.desired(model, have, replicas, demand, now_us)
        limits = model.scaling
        coming = scaling.announced(model, demand)
        able = self.able.get(key, 1.0)
        grown = max(coming, math.ceil(known.need / able - SLACK))
        shrunk = max(coming, math.ceil(known.most / able + SLACK / 2))
        young = now_us - known.since_us < CALM_US
        count = grown if grown > have else have if young else min(have, shrunk)
        calm_us = CALM_US + 2 * self.boot_us.get(model.key, BOOT_US)  # while others start in place of what is too much
        if known.fresh and now_us - known.since_us < calm_us:
            count = max(grown, math.ceil(known.most / able - SLACK))
        count = max(limits.min_replicas, 1, min(limits.max_replicas, count))
        return Want(count, self._told(model, known, demand, count))

    def _told(self, model: ModelSpec, known: _Known, demand: Demand, count: int) -> str:
        expected, boot_us = known.expected, self.boot_us.get(model.key, BOOT_US)
        held = f", {demand.queued} held" if demand.queued else ""
        full = f", {100 * known.pace.full:.0f} % full" if known.pace.full != FULL else ""
        kept = f"; one that is not needed stays for {format_us(known.kept_us)}" if known.kept_us > CALM_US else ""
        held += f", {demand.expected} announced" if demand.expected else ""
        return (
            f"work for {expected.level:.2f} replicas arrives, at most {expected.peak:.2f} while one starts "
            f"({format_us(boot_us)}), noise {expected.sigma:.2f}{full}{held}: {count} wanted "
            f"(min {model.scaling.min_replicas}, max {model.scaling.max_replicas}){kept}"
        )


def kept(needs: Sequence[float], least: int, calm: int, have: int = 0) -> list[int]:
    """Replicas that are there for needs, one look after the other, `have` at first: grown at once, shrunk after so many
    calm looks.

    >>> kept([1.1, 1.3, 0.9, 0.8, 0.8, 0.8], 1, calm=3)
    [1, 2, 2, 2, 1, 1]
    >>> kept([1.1, 1.1, 1.1], 1, calm=3, have=2)
    [2, 2, 2]
    """
    counts: list[int] = []
    lately, have = Most(), max(least, have)
    for at, need in enumerate(needs):
        most = lately.take(need, at, calm - 1)
        have = max(least, math.ceil(need - SLACK), min(have, math.ceil(most + SLACK / 2)))
        counts.append(have)
    return counts
