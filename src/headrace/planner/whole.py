"""The whole optimum: the least that whole replicas of one pool can cost which know all work in advance.

A dynamic program over who serves and what waits, with a price on missed work. The price that makes the program's value
greatest proves a bound; the two plans on either side of it, spliced where they meet, are a schedule that comes near it.
The linear program of `optimum` lets replicas be fractions: of a fleet of three that is a tenth of its cost.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from headrace.planner.optimum import SLOT_US, Fleet, Pool
from headrace.planner.program import Floats
from headrace.planner.schedule import Ints, Schedule, levels
from headrace.units import US_PER_HOUR

PARTS: Final = 32  # of what a replica does in a slot, or of what arrives in one if that is less: the grid of work
COARSE: Final = 8
FINER_MAX: Final = 256
SLOTS_MAX: Final = 25_000
CELLS_MAX: Final = 40_000_000  # replicas times waiting work times slots; a byte of memory each
FIRST_PRICE: Final = 4.0  # replica slots for what a replica does in one
NEAR: Final = 1.02
ROUNDS_MAX: Final = 80
CLOSE: Final = 1e-5  # of the value: what another price could still add
_DUST: Final = 1e-9


def whole_bound(
    work_us: ArrayLike,
    pool: Pool,
    *,
    slot_us: int = SLOT_US,
    missed: float = 0.01,
    late_us: int | None = None,
    parts: int = COARSE,
) -> int | None:
    """What no schedule of whole replicas on one pool is cheaper than, in nano-dollars; None where it is too large.

    Arguments and errors are those of `optimum`. `parts` is how finely work is told: so many for what a replica
    does in a slot, or for what arrives in one where that is less.

    Formula: max over prices y of min over v of sum_t (v_t + B (v_t - v_(t-1))^+ + y z_t) - y missed sum a, with
        z_t = max(0, q_(t-1) + a_t - c v_t - room_t), q_t = min(room_t, max(0, q_(t-1) + a_t - c v_t)) and room_t what
        arrived in the last slots that work may wait; rounded up to whole replica slots, and paid at the pool's price.
    Units: v replicas; a, q, z what a replica does in a slot, in `parts`; y replica slots for one of those.
    Source: dynamic programming (Bellman 1957); a price on the side condition (Lagrangian relaxation, Fisher 1981),
        raised until it holds (Held and Karp 1971).
    Assumes: what `optimum` does but that replicas are whole and come and go at the edges of slots. A billing minimum
        above a boot and a slot is left out, so the bound is weaker then, never wrong. To miss what could have waited
        never helps: who carries it may miss it later at the same price, so only v is chosen. Cumulated work is
        rounded down to parts and one part more may wait; of any schedule, what is done and what is missed, each
        cumulated and rounded down, is then one of the grid's that costs no more.

    >>> pool = Pool(name="h100", nanousd_per_hour=3_600_000_000)
    >>> slots = np.array([1.5, 1.5, 3, 1, 0]) * 30_000_000
    >>> whole_bound(slots, pool, missed=0), whole_bound(slots, pool, missed=0, late_us=0)  # 7 and 8 slots
    (210000000, 240000000)
    """
    fleet = Fleet(work_us, [pool], slot_us=slot_us, missed=missed, late_us=late_us)
    found = _bound(fleet, missed, parts)
    return None if found is None else _nanousd(found.value, fleet)


def whole(
    work_us: ArrayLike,
    pool: Pool,
    *,
    slot_us: int = SLOT_US,
    missed: float = 0.01,
    late_us: int | None = None,
    parts: int = PARTS,
) -> Schedule | None:
    """A schedule of whole replicas on one pool, and the bound of `whole_bound` beside it; None where it is too large.

    Arguments and errors are those of `schedule`: durations are rounded up to slots, and what is left at the end is
    missed. What is said to be missed and paid is worked out of the schedule anew, billing minima included.
    """
    loose = Fleet(work_us, [pool], slot_us=slot_us, missed=missed, late_us=late_us)
    bound = _bound(loose, missed, parts)
    fleet = Fleet(work_us, [pool], slot_us=slot_us, missed=missed, late_us=late_us, strict=True)
    asked = fleet.arriving / pool.capacity
    lines = [_line(fleet, asked, parts, up=up) for up in (False, True)]
    if bound is None or lines[0] is None or lines[1] is None:
        return None
    allowed = missed * float(asked.sum()) + _DUST * max(1.0, float(asked.sum()))
    found = _planned(fleet, asked, allowed, lines[0], bound.price) if missed else None
    found = _planned(fleet, asked, allowed, lines[1], bound.price) if found is None else found
    if found is None:
        fleet.refuse()
    replicas = _paid(fleet, pool, found)
    cost = pool.nanousd_per_hour * int(replicas.sum()) * slot_us
    return Schedule(
        replicas={pool.name: replicas}, nanousd=-(-cost // US_PER_HOUR), bound_nanousd=_nanousd(bound.value, loose)
    )


def _paid(fleet: Fleet, pool: Pool, serving: Ints) -> Ints:
    """Replicas that are paid for by slot, those who boot and are within the minimum, too; the oldest goes first."""
    boot, least = fleet.window(pool.boot_us), fleet.window(pool.billing_min_us)
    replicas, begun = levels(serving, boot, 0)
    young = np.cumsum(begun)
    young[least:] -= np.cumsum(begun)[: max(0, len(begun) - least)]
    replicas = np.maximum(replicas, young if least else 0)
    if pool.count is not None and replicas.max() > pool.count:
        replicas, _ = levels(serving, boot, least)
    return replicas


def _nanousd(slots: float, fleet: Fleet) -> int:
    """Replica slots are whole, and so is the least of them."""
    least = int(np.ceil(slots - _DUST * max(1.0, slots)))
    return least * fleet.pools[0].nanousd_per_hour * fleet.slot_us // US_PER_HOUR


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """Who serves, what waits after each slot and is missed in it, in parts; `cost` in replica slots, by slot."""

    serving: Ints
    waiting: Ints
    missed: Ints
    cost: Ints


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Raised:
    """The greatest value, in replica slots, at which price, and the paths of its sides: too much is missed, and not."""

    value: float
    price: float
    under: _Path
    over: _Path


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """The problem in whole numbers: work that arrives and room for what waits by slot, in parts; the most replicas."""

    arriving: Ints
    room: Ints
    parts: int
    most: int
    boot: int

    @property
    def cells(self) -> int:
        """How many states there are."""
        return int((self.room + 1).sum()) * (self.most + 1)

    def path(self, price: float) -> _Path:
        """The cheapest path where a missed part costs `price` replica slots."""
        return self._walked(self._choices(price))

    def _choices(self, price: float) -> list[Any]:
        """From the last slot to the first: how many best serve, by what waits and how many served before."""
        count, replicas = len(self.arriving), np.arange(self.most + 1)
        small = np.int8 if self.most < 127 else np.int16
        less = np.arange(int(self.room.max(initial=0)) + 1)[:, None] - self.parts * replicas
        starts = (self.boot * replicas).astype(np.float64)
        after = np.zeros((int(self.room[-1]) + 1, self.most + 1))  # what is still to be paid
        choices: list[Any] = [0] * count
        for slot in range(count - 1, -1, -1):
            left = less[: int(self.room[slot - 1]) + 1 if slot else 1] + self.arriving[slot]
            waits = np.minimum(left, self.room[slot])
            over = left - waits
            np.maximum(waits, 0, out=waits)
            waits *= self.most + 1
            waits += replicas
            cost = after.ravel()[waits]
            cost += replicas
            if over[-1, 0] > 0:
                cost += price * over
            if slot == 0:
                choices[0] = int(cost[0].argmin())
                break
            kept = np.minimum.accumulate(cost, axis=1)  # as many as before or fewer
            best = np.maximum.accumulate(np.where(cost == kept, replicas, 0), axis=1)
            if slot > self.boot:
                cost += starts
                grown = np.minimum.accumulate(cost[:, ::-1], axis=1)[:, ::-1]
                more = np.minimum.accumulate(np.where(cost == grown, replicas, self.most)[:, ::-1], axis=1)[:, ::-1]
                grown = grown - starts
                best = np.where(kept <= grown, best, more)
                kept = np.minimum(kept, grown)
            choices[slot], after = best.astype(small), kept
        return choices

    def _walked(self, choices: list[Any]) -> _Path:
        serving, waiting, missed = (np.zeros(len(choices), np.int64) for _ in range(3))
        replicas, waits = choices[0], 0
        for slot, (arrives, room) in enumerate(zip(self.arriving.tolist(), self.room.tolist(), strict=True)):
            if slot:
                replicas = int(choices[slot][waits, replicas])
            left = waits + arrives - self.parts * replicas
            waits = min(max(left, 0), room)
            serving[slot], waiting[slot], missed[slot] = replicas, waits, max(0, left - room)
        return _Path(
            serving, waiting, missed, serving + self.boot * np.maximum(0, np.diff(serving, prepend=serving[0]))
        )


def _line(fleet: Fleet, asked: Floats, parts: int, *, up: bool = False) -> _Line | None:
    """The grid of a fleet, as fine as can be afforded; None where none can.

    Loose where the fleet is not strict: a part more may wait. Where it is, a part less; with `up`, each slot's work is
    rounded up by itself, so that what the grid does can be done.
    """
    finer = 1
    if len(asked) > SLOTS_MAX:
        return None
    busy = asked[asked > 0]
    while len(busy) and finer < FINER_MAX and finer * float(busy.mean()) < 1:
        finer *= 2
    parts *= finer
    while parts:
        cumulated = np.cumsum(np.ceil(asked * parts - _DUST)) if up else np.floor(np.cumsum(asked) * parts + _DUST)
        if float(cumulated[-1]) > CELLS_MAX:
            parts //= 2
            continue
        done = cumulated.astype(np.int64)
        late = min(fleet.late, len(done))
        room = done - np.concatenate([np.zeros(late, np.int64), done[: len(done) - late]])
        if fleet.strict:
            room = np.maximum(0, room - (not up))
            room[-1] = 0
        else:
            room += 1
        arriving = np.diff(done, prepend=0)
        most = int((-(-(arriving + np.concatenate([[0], room[:-1]])) // parts)).max(initial=0))
        if (count := fleet.pools[0].count) is not None:
            most = min(most, count)
        line = _Line(arriving, room, parts, most, fleet.window(fleet.pools[0].boot_us))
        if most < 2**15 and line.cells <= CELLS_MAX:
            return line
        parts //= 2
    return None


def _bound(fleet: Fleet, missed: float, parts: int) -> "_Raised | None":
    """The price on a coarse grid first, then beside it on the one that is wanted; None where that is too large."""
    asked = fleet.arriving / fleet.pools[0].capacity
    near = 0.0
    for grid in sorted({min(COARSE, parts), parts}):
        line = _line(fleet, asked, grid)
        if line is None:
            return None
        found = _raised(line, missed * float(asked.sum()) * line.parts, lambda one: float(one.missed.sum()), near)
        if found is None:
            fleet.refuse()
        near = found.price if missed else 0.0
    return found


def _raised(line: _Line, allowed: float, gone: Callable[[_Path], float], near: float = 0.0) -> _Raised | None:
    """The price at which what is missed comes to what is allowed, in parts; None when no price is high enough.

    A path is a line over the price, and the value the lowest of them: the next price is where the known lines of both
    sides meet, until none lies below that. The first of the one side is to do nothing; beside a price that is `near`
    both are looked for close by. Prices are replica slots for what a replica does in one.
    """
    nothing = np.zeros(len(line.arriving), np.int64)
    idle = _Path(nothing, nothing, line.arriving, nothing)
    under = (0.0, gone(idle), idle)
    over: tuple[float, float, _Path] | None = None
    if under[1] <= allowed:
        return _Raised(0.0, 0.0, under[2], under[2])
    limit = 2.0 * (line.boot + 1) * (len(line.arriving) + 1) * (line.most + 1)  # what one part can save at most
    value, price, best, step = 0.0, near or FIRST_PRICE, 0.0, NEAR if near else 2.0
    for _ in range(ROUNDS_MAX):
        path = line.path(price / line.parts)
        cost, missed = float(path.cost.sum()), gone(path)
        if (told := cost + price / line.parts * (missed - allowed)) > value:
            value, best = told, price
        if missed > allowed:
            under = (cost, missed, path)
        else:
            over = (cost, missed, path)
        if over is None:
            if price > limit * line.parts:
                return None
            price, step = price * step, step * step
            continue
        if near and under[2] is idle:
            price, step = price / step, step * step
            continue
        price = line.parts * (over[0] - under[0]) / (under[1] - over[1])
        if value >= (under[0] + price / line.parts * (under[1] - allowed)) * (1 - CLOSE):
            break
    return None if over is None else _Raised(value, best, under[2], over[2])


def _planned(fleet: Fleet, asked: Floats, allowed: float, line: _Line, near: float) -> Ints | None:
    """Who serves by slot, with no more missed than allowed: one path, and of the other what can be afforded."""

    def gone(serving: Ints) -> Floats:
        return _gone(fleet, asked, serving)

    found = _raised(line, allowed * line.parts, lambda one: float(gone(one.serving).sum()) * line.parts, near)
    if found is None:
        return None
    under, over = found.under, found.over
    meet = (under.serving == over.serving) & (under.waiting == over.waiting)
    stretch = np.concatenate([[0], np.cumsum(meet[:-1])])
    before = gone(over.serving)
    saved = np.bincount(stretch, over.cost - under.cost)
    more = np.bincount(stretch, gone(under.serving) - before)
    left, taken = allowed - float(before.sum()), list[int]()
    for one in np.argsort(-saved / np.maximum(more, _DUST)).tolist():
        if saved[one] > 0 and more[one] <= left:
            taken.append(one)
            left -= float(more[one])
    while taken:
        serving = np.where(np.isin(stretch, taken), under.serving, over.serving)
        if float(gone(serving).sum()) <= allowed:
            return serving
        taken.pop()  # what waits where they meet differs by less than a part
    return over.serving


def _gone(fleet: Fleet, asked: Floats, serving: Ints) -> Floats:
    """What is missed by slot, of the work itself and not of the grid's."""
    cumulated, late = np.cumsum(asked), min(fleet.late, len(asked))
    room = cumulated - np.concatenate([np.zeros(late), cumulated[: len(asked) - late]])
    room[-1] = 0.0
    gone, waits = np.zeros(len(asked)), 0.0
    for slot, (arrives, most, able) in enumerate(zip(asked.tolist(), room.tolist(), serving.tolist(), strict=True)):
        left = waits + arrives - able
        waits = min(max(left, 0.0), most)
        gone[slot] = max(0.0, left - most)
    return gone
