"""Room for a replica that does not fit: who sleeps or goes for it, and who moves. Called by `plan`, and `sleep`.

Someone is stopped only when that makes the one who waits fit; nobody below its minimum, and nobody at work unless it
has a second replica and the one who waits has none. Among the idle those go who cost least: what a wake of each costs,
times the chance that it is asked for within the time after which a wake is the cheaper. Who can sleep does, and keeps
a little; sleepers are let go like others, for what they keep and what a start costs more than a wake.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from headrace.policy import moves, scaling, worth
from headrace.policy.placement import Place, place_of
from headrace.policy.planning import Lack, Work, is_current, may_sleep
from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Replica
from headrace.state.gaps import EDGES_US
from headrace.units import US_PER_S, format_bytes

SAMPLES: Final = 8.0  # gaps before they are believed
UNPRICED_US: Final = 300 * US_PER_S  # the time in question where nobody said what a device costs


@dataclass(frozen=True, slots=True)
class Leaver:
    """One who may make room: what its device gets back, and what that costs on average, in nano-dollars."""

    replica: Replica
    freed_bytes: int
    regret: float = 0.0
    sleeps: bool = False

    @property
    def rank(self) -> float:
        """Who goes first: those that cost least for each byte."""
        return self.regret / max(1, self.freed_bytes)


def make(work: Work, lack: Lack) -> str:
    """Make room for one replica if that is right; the reason why it waits, empty when it need not.

    1. Enough is being freed already: it waits for that, and it is promised to it.
    2. A replica of its own earlier spec gives way, unless a successor is just starting.
    3. Idle replicas of other models sleep or go, those that cost least; for one that is merely one more, only those
       that have been idle for a minute.
    4. Idle replicas that nothing may stop for good move together, so that what is free lies on one device.
    5. For a model that nobody serves: second replicas of models that work.
    """
    model, space = lack.model, work.space
    need = format_bytes(model.memory_bytes)
    if (device := space.promise(model)) is not None:  # 1.
        return f"waits for {need} on {device.device}, which is being freed"
    idle = moves.idle(work, lack)
    going = _own_old(work, lack) or _others(work, model, idle)
    if not going and (moved := moves.make(work, lack, idle)):  # 4.
        space.promise(model)
        return moved
    if not going and lack.urgency == 0:  # 5.
        going = _cheapest(work, model, _stopped(_above_minimum(work, _seconds(work, model))))
    if not going:
        return space.why_not(model)
    _part(work, going, f"makes room: {model.key} needs {need}", lack)
    if space.find(model) is not None:  # the free memory was promised to one that can have this instead
        return ""
    space.promise(model)
    return f"waits for {need}, which {', '.join(one.replica.id for one in going)} will free"


def rouse(work: Work, lack: Lack, asleep: list[Replica]) -> bool:
    """Make room for one of its sleepers to wake, the cheapest; whether that is right.

    A start that has its place already may cost less.
    """
    model, space = lack.model, work.space
    each = work.share_nanousd(model.memory_bytes, model.pools[0], US_PER_S) / US_PER_S
    each += model.scaling.wait_nanousd_per_s / US_PER_S
    more = each * (work.boot_us(model) - work.wake_us(model)) if space.find(model) is not None else None
    idle = _above_minimum(work, moves.idle(work, lack))
    best: tuple[float, Replica, list[Leaver]] | None = None
    for replica in asleep:
        lacking = replica.memory_bytes - replica.kept_bytes - space.soon[place_of(replica)]
        for leavers in _ways(work, model, idle):
            going = _enough(lacking, place_of(replica), leavers)
            cost = sum(one.regret for one in going)
            if going and (best is None or cost < best[0]):
                best = cost, replica, going
    if best is None or (more is not None and best[0] > more):
        return False
    _, replica, going = best
    lacking_said = format_bytes(replica.memory_bytes - replica.kept_bytes)
    _part(work, going, f"makes room: {replica.id} needs {lacking_said} to wake", lack)
    space.wake(replica, soon=True)
    work.hold(model, f"{replica.id} waits for {lacking_said}, which {_names(going)} will free, to wake")
    return True


def _names(going: Iterable[Leaver]) -> str:
    return ", ".join(one.replica.id for one in going)


def _part(work: Work, going: Iterable[Leaver], why: str, lack: Lack) -> None:
    for one in going:
        spec = work.models.get(one.replica.key)
        reason = f"{why} on {one.replica.device} ({lack.reason})"
        if one.sleeps:
            work.sleep(one.replica, f"{reason}; asleep it keeps {format_bytes(one.replica.kept_bytes)}")
        else:
            work.stop(one.replica, spec.scaling.drain_us if spec else 0, f"{reason}{worth.again(one.regret)}")


def _own_old(work: Work, lack: Lack) -> list[Leaver]:
    model = lack.model
    mine = work.working(model.key)
    current = [replica for replica in mine if is_current(model, replica)]
    if not lack.old or any(replica.phase != "ready" for replica in current):
        return []
    old = [replica for replica in mine if replica not in current]
    ordered = sorted(old, key=lambda replica: (scaling.used_us(replica), replica.id))
    return _cheapest(work, model, _stopped(ordered))


def _others(work: Work, model: ModelSpec, idle: list[Replica]) -> list[Leaver]:
    """Those whose going or sleeping costs least: first with all asleep that can be, then with nobody."""
    found = [_cheapest(work, model, leavers) for leavers in _ways(work, model, _above_minimum(work, idle))]
    return min((one for one in found if one), key=lambda one: sum(leaver.regret for leaver in one), default=[])


def _ways(work: Work, model: ModelSpec, idle: list[Replica]) -> list[list[Leaver]]:
    """Who may make room, in two ways: those who can sleep do; all of them go. Sleepers go in both."""
    asleep = [
        Leaver(replica, replica.held_bytes, regret(work, replica))
        for replica in work.fleet.replicas
        if replica.phase == "asleep" and replica.key != model.key and replica in work.sleepers(replica.key)
    ]
    gone = [Leaver(replica, replica.memory_bytes, regret(work, replica)) for replica in idle]
    ram, resting = dict(work.space.ram), list[Leaver]()
    for leaver in gone:
        replica, spec = leaver.replica, work.models[leaver.replica.key]
        place, made = place_of(replica), leaver
        if may_sleep(spec, replica) and replica.host_bytes <= ram.get(place, 0) and place not in work.doomed:
            ram[place] -= replica.host_bytes
            freed = replica.memory_bytes - replica.kept_bytes
            made = Leaver(replica, freed, regret(work, replica, sleeps=True), sleeps=True)
        resting.append(made)
    ways = [resting, gone] if resting != gone else [gone]
    return [
        sorted([*way, *asleep], key=lambda one: one.rank) for way in ways
    ]  # stable: those used least recently first


def _stopped(replicas: Iterable[Replica]) -> list[Leaver]:
    return [Leaver(replica, replica.memory_bytes) for replica in replicas]


def regret(work: Work, replica: Replica, *, sleeps: bool = False) -> float:
    """What stopping an idle replica costs on average, in nano-dollars, or having it sleep; nothing where its model has
    another awake.

    Formula: W P(g <= t + T | g > t), T = W / k, W = b (c + w); P from the gaps seen, or T / (t + T) while they are few.
        b is a start, and k = c; of one that shall sleep b is a wake and k what sleeping saves; of one that sleeps b is
        what a start takes longer than a wake, and k what it keeps.
    Units: t idle, b, g a gap between uses, in microseconds; c, k nano-dollars a microsecond, w those of a wait.
    Source: greedy dual caching (P. Cao, S. Irani 1997: cost over size) with the chance of use known; without it, a gap
        that has lasted t lasts on by the law of a Pareto tail of exponent 1, and so the one used last goes last.
    """
    spec = work.models.get(replica.key)
    if spec is None or len(work.working(replica.key)) > (replica.phase != "asleep"):
        return 0.0
    boot_us, held = work.boot_us(spec), spec.memory_bytes
    if replica.phase == "asleep":
        boot_us, held = boot_us - work.wake_us(spec), replica.kept_bytes
    elif sleeps:
        boot_us, held = work.wake_us(spec), replica.memory_bytes - replica.kept_bytes
    each = work.share_nanousd(spec.memory_bytes, replica.pool, US_PER_S) / US_PER_S
    wake = boot_us * (each + spec.scaling.wait_nanousd_per_s / US_PER_S)
    saved = work.share_nanousd(held, replica.pool, US_PER_S) / US_PER_S
    within_us = wake / saved if saved else UNPRICED_US
    demand = work.demand.get(replica.key)
    idle_us = work.now_us - max(replica.ready_us, demand.last_us if demand else 0)
    chance = within_us / max(1.0, idle_us + within_us)
    gaps = work.learned.gaps.get(replica.key)
    if gaps is not None and gaps.count >= SAMPLES:
        longer = [(edge, part) for edge, part in zip(EDGES_US, gaps.weights, strict=True) if part and edge > idle_us]
        weight = sum(part for _, part in longer)
        if weight >= 1:  # else it is idle longer than it ever was
            chance = sum(part for edge, part in longer if edge <= idle_us + within_us) / weight
    return wake * chance


def _seconds(work: Work, model: ModelSpec) -> list[Replica]:
    """Replicas of other models beyond their first, the oldest first."""
    found = []
    for key in dict.fromkeys(replica.key for replica in work.fleet.replicas if replica.key != model.key):
        mine = work.working(key)
        found.extend(sorted(mine, key=lambda replica: (scaling.used_us(replica), replica.id))[:-1])
    return sorted(found, key=lambda replica: (scaling.used_us(replica), replica.id))


def _above_minimum(work: Work, candidates: list[Replica]) -> list[Replica]:
    """Those that can go without taking a model below its minimum; none of a model that is just being replaced."""
    spare: dict[str, int] = {}
    found = []
    for replica in candidates:
        spec = work.models.get(replica.key)
        if spec is None or not spec.owned:
            continue
        if replica.key not in spare:
            there = work.working(replica.key)
            settled = all(is_current(spec, other) for other in there)
            spare[replica.key] = len(there) - spec.scaling.min_replicas if settled else 0
        if spare[replica.key] > 0:
            spare[replica.key] -= 1
            found.append(replica)
    return found


def _cheapest(work: Work, model: ModelSpec, leavers: list[Leaver]) -> list[Leaver]:
    """Those of the leavers that make the model fit on one device and cost least, then the fewest."""
    best: tuple[tuple[float, int], list[Leaver]] | None = None
    for device in work.space.homes(model):
        going = _enough(work.space.lacking(model, device), place_of(device), leavers)
        cost = sum(one.regret for one in going), len(going)
        if going and (best is None or cost < best[0]):
            best = cost, going
    return [] if best is None else best[1]


def _enough(lacking: int, place: Place, leavers: list[Leaver]) -> list[Leaver]:
    going: list[Leaver] = []
    for one in leavers:
        if lacking <= 0:
            break
        if place_of(one.replica) == place:
            going.append(one)
            lacking -= one.freed_bytes
    if lacking > 0:
        return []
    for one in tuple(going):  # what a larger one freed, a smaller one before it need not
        if lacking + one.freed_bytes <= 0:
            lacking += one.freed_bytes
            going.remove(one)
    return going
