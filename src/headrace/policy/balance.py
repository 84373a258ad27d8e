"""One model's replicas against the number wanted: what is too much is stopped, what is lacking told to `plan`."""

from dataclasses import replace
from typing import Final

from headrace.policy import cuts, homing, scaling, sleep, spot, spot_pools, worth
from headrace.policy.home import Home
from headrace.policy.homing import Level
from headrace.policy.planning import FAILED_PAUSE_US, Lack, Work, within
from headrace.policy.scaling import Want
from headrace.policy.sizing import Sizing
from headrace.policy.spot import Pools, There
from headrace.specs.catalog import ModelSpec
from headrace.state.demand import LONG, Demand, parts
from headrace.state.fleet import Replica
from headrace.units import US_PER_S, format_us

DRAIN_US: Final = 30 * US_PER_S  # before a device is taken away, for what is at work there
LAST_US: Final = 2 * US_PER_S  # kept between the last answer and the end of the device


def balance(work: Work, model: ModelSpec, sizing: Sizing) -> list[Lack]:
    """Stop what one model version has too much of; what it lacks."""
    mine = work.working(model.key)
    digest = model.digest  # a hash: worked out once
    leaving = [replica for replica in mine if work.left_us(replica) is not None]
    current = [r for r in mine if r.digest == digest and r.pool in model.pools and r not in leaving]
    old = [replica for replica in mine if replica not in current and replica not in leaving]
    demand = work.demand.get(model.key)
    kinds = spot.pools_of(model, work.pools, work.boot_us(model))
    there = None if kinds is None else _there(work, model, kinds, current)
    home = work.learned.homes.get(model.key) if kinds is None else None
    levels = [] if home is None else _levels(work, model, home, current)
    have = len(current) if there is None else spot.without_spare(model.scaling, there)
    have = homing.have(levels, asked=scaling.busy(demand)) if levels else have
    have = max(have, len(leaving))  # those who come for who leaves are no more than there were
    have = 1 if old else have  # while successors start, the load alone says how many
    want, resting = sleep.wanted(model, have, current or leaving or old, work, sizing)
    if resting:
        current = [replica for replica in current if not sleep.lull(work, replica, want.reason)]
        levels = [] if home is None else _levels(work, model, home, current)
    if resting and current:  # nobody goes before its time because it cannot sleep
        want = Want(homing.have(levels) if levels else len(current), "kept: it cannot sleep now")
    sleep.prune(work, model, len(current) + len(leaving))
    if home is not None:
        wants = [want]
        if home.cut is not None and demand is not None and want.count and not resting:
            wants = _parts(work, model, home, levels, demand, current, sizing)
            want = Want(sum(one.count for one in wants), "; ".join(one.reason for one in wants))
        lacking = _housed(work, model, home, levels, current, wants)
    elif kinds is None or there is None:
        _stop(work, model, current, len(current) - want.count, want.reason)
        lacking = [(model, want.reason, want.count - len(current))]
    else:
        lacking = _divided(work, model, kinds, there, current, want)
    if old:
        _retire(work, model, want, current, old)
    if leaving:
        _leave(work, model, want, current, leaving)
    if any(count > 0 for _, _, count in lacking) and (failed := _failed(work, model, kinds)) is not None:
        left = format_us(FAILED_PAUSE_US - (work.now_us - failed.launched_us))
        cause = failed.reason or "no reason given"
        work.hold(model, f"its replica {failed.id} failed: {cause}; tried again in {left}, or when it is changed")
        return []
    waited_us = demand.oldest_wait_us if demand else 0
    found: list[Lack] = []
    for placed, reason, count in lacking:
        for _ in range(count):
            urgency = _urgency(mine, model, len(found))
            evenly = kinds is not None and not kinds.costs and placed.pools == kinds.spot
            found.append(Lack(placed, reason, urgency, waited_us, old=bool(old), evenly=evenly))
    return found


def _leave(work: Work, model: ModelSpec, want: Want, current: list[Replica], leaving: list[Replica]) -> None:
    """Replicas on devices that will be taken away: they go when others are ready in their place, one for one; and in
    time to end what they have, whoever is ready. Who only starts there goes at once.
    """
    ready = sum(replica.phase == "ready" for replica in current)
    may_go = len(leaving) - max(0, want.count - ready)
    for number, replica in enumerate(sorted(leaving, key=lambda one: (work.left_us(one), one.id))):
        left_us = work.left_us(replica) or 0
        drain_us = min(model.scaling.drain_us, max(0, left_us - LAST_US))
        told = (
            f"{replica.device} will be taken away in {format_us(left_us)}" if left_us else f"{replica.device} is gone"
        )
        if replica.phase != "ready":
            work.stop(replica, 0, f"{told}, and it is not ready")
        elif number < may_go:
            work.stop(replica, drain_us, f"{told}; {ready} ready elsewhere, {want.count} wanted")
        elif left_us <= min(model.scaling.drain_us, DRAIN_US) + LAST_US:
            work.stop(replica, drain_us, f"{told}: no more work, so that it can end what it has")


def _divided(
    work: Work, model: ModelSpec, kinds: Pools, there: There, current: list[Replica], want: Want
) -> list[tuple[ModelSpec, str, int]]:
    """Stop what is too much on spot or beside it; what is lacking of either, spot first."""
    dear = tuple(pool for pool in kinds.spot if pool not in kinds.fair)
    last = max(0, want.count - there.spot - there.spot_room - there.firm - there.firm_room)  # what else has no room
    room = {pool: work.space.room(within(model, (pool,))) if last or pool not in dear else 0 for pool in kinds.spot}
    there = replace(there, spot_room=there.spot_room + min(last, sum(room[pool] for pool in dear)))
    made = spot.split(model.scaling, kinds, there, want.count)
    on_spot = [replica for replica in current if replica.pool in kinds.spot]
    why = f"{want.reason}; {made.why_firm}" if want.count else want.reason
    for replica in _off_spot(model, kinds, on_spot, made.stop_spot):
        work.stop(replica, model.scaling.drain_us, why)
    stays = [replica for replica in current if replica.pool in kinds.firm]
    _stop(work, within(model, kinds.firm), stays, made.stop_firm, f"{want.reason}; {there.spot_ready} ready on spot")
    lacking = [(within(model, kinds.spot), f"{want.reason}; {made.why_spot}", made.start_spot)]
    if kinds.costs:
        counts = {pool: sum(replica.pool == pool for replica in on_spot) for pool in kinds.spot}
        lacking = [
            (within(model, order), f"{want.reason}; {made.why_spot}; {why}", 1)
            for order, why in spot_pools.places(kinds.costs, counts, room, made.start_spot)
        ]
    return [*lacking, (within(model, kinds.firm), f"{want.reason}; {made.why_firm}", made.start_firm)]


def _off_spot(model: ModelSpec, kinds: Pools, there: list[Replica], extra: int) -> list[Replica]:
    """Those on spot to stop, of the dearest pools first; of several that are left one stays apart from the others."""
    liked = within(model, kinds.spot)
    going = _surplus(liked, there, extra)
    left = [replica for replica in there if replica not in going]
    if not kinds.costs or len(left) < 2 or len({replica.pool for replica in left}) > 1:
        return going
    other = next((one for one in reversed(going) if one.phase == "ready" and one.pool != left[0].pool), None)
    if other is None or other.pool not in kinds.fair:
        return going
    return [*(one for one in going if one is not other), *_surplus(liked, left, 1)]


def _levels(work: Work, model: ModelSpec, home: Home, current: list[Replica]) -> list[Level]:
    """Its pools of known speed, the chosen one first."""
    found = []
    for pool in home.pools:
        mine = [replica for replica in current if replica.pool == pool]
        if pool in home.able:
            ready = sum(replica.phase == "ready" for replica in mine)
            found.append(Level(pool, home.able[pool], len(mine), ready, work.space.room(within(model, (pool,)))))
    return found


def _parts(
    work: Work,
    model: ModelSpec,
    home: Home,
    levels: list[Level],
    demand: Demand,
    current: list[Replica],
    sizing: Sizing,
) -> list[Want]:
    """What each part of a model that is cut by length wants on its pool, together no more than there may be."""
    assert home.cut is not None, "it is asked of those that are cut"
    wants = []
    for level, part, spec in zip(levels, parts(demand), cuts.parted(model, home.split), strict=False):
        mine = [replica for replica in current if replica.pool == level.pool]
        want = sizing.desired(spec, level.there, mine, part, work.now_us)
        upto = home.cut.upto_tokens
        size = f"over {upto}" if part.part == LONG else f"up to {upto}"
        wants.append(Want(max(1, want.count), f"prompts {size} tokens: {want.reason}"))
    while (over := sum(one.count for one in wants) - model.scaling.max_replicas) > 0:
        most = max(range(len(wants)), key=lambda place: wants[place].count)
        fewer = max(1, min(over, wants[most].count // 2))
        wants[most] = Want(wants[most].count - fewer, f"{wants[most].reason}, of max {model.scaling.max_replicas}")
    return wants


def _housed(
    work: Work, model: ModelSpec, home: Home, levels: list[Level], current: list[Replica], wants: list[Want]
) -> list[tuple[ModelSpec, str, int]]:
    """Stop what is too much on the chosen pools or elsewhere; what is lacking, and where."""
    *changes, left = homing.split([want.count for want in wants], levels)
    reason = f"{'; '.join(want.reason for want in wants)}; {home.reason}"
    lacking = []
    for level, change in zip(levels, changes, strict=True):
        _stop(work, model, [replica for replica in current if replica.pool == level.pool], -change, reason)
        if change > 0:
            lacking.append((within(model, (level.pool,)), reason, change))
    return [*lacking, (model, reason, left)] if left else lacking


def _there(work: Work, model: ModelSpec, kinds: Pools, current: list[Replica]) -> There:
    on_spot = [replica for replica in current if replica.pool in kinds.spot]
    firm = [replica for replica in current if replica.pool in kinds.firm]
    return There(
        spot=len(on_spot),
        spot_ready=sum(replica.phase == "ready" for replica in on_spot),
        spot_room=work.space.room(within(model, kinds.fair)),
        firm=len(firm),
        firm_ready=sum(replica.phase == "ready" for replica in firm),
        firm_room=work.space.room(within(model, kinds.firm)),
    )


def _failed(work: Work, model: ModelSpec, kinds: Pools | None) -> Replica | None:
    """The failed replica that keeps a model from being started. One that was lost with a spot device bars that alone,
    as long as there is another place.
    """
    elsewhere = kinds is not None and work.space.room(model) > 0
    for replica in work.failed:
        same = replica.key == model.key and replica.digest == model.digest and replica.id not in work.stopped
        if same and not (elsewhere and work.fickle(replica)):
            return replica
    return None


def _urgency(mine: list[Replica], model: ModelSpec, number: int) -> int:
    """0: nobody serves it. 1: below its minimum. 2: one more."""
    there = len(mine) + number
    return 0 if there == 0 else 1 if there < model.scaling.min_replicas else 2


def _stop(work: Work, model: ModelSpec, replicas: list[Replica], extra: int, reason: str) -> None:
    for replica in _surplus(model, replicas, extra):
        work.stop(replica, model.scaling.drain_us, f"{reason}{worth.kept(work, replica)}")


def _surplus(model: ModelSpec, replicas: list[Replica], extra: int) -> list[Replica]:
    """Those to stop: lost ones first, then those that only start, then those of the pool it likes least, then the
    oldest, because idle time is counted from the youngest.
    """
    if extra <= 0:
        return []

    def order(replica: Replica) -> tuple[bool, bool, int, int, str]:
        liked = model.pools.index(replica.pool) if replica.pool in model.pools else len(model.pools)
        return replica.phase != "lost", replica.phase == "ready", -liked, scaling.used_us(replica), replica.id

    return sorted(replicas, key=order)[:extra]


def _retire(work: Work, model: ModelSpec, want: Want, current: list[Replica], old: list[Replica]) -> None:
    """Replicas of an earlier spec go when successors are ready, one for one; at once when nobody asks."""
    ready = sum(replica.phase == "ready" for replica in current)
    reason = f"{model.key} was changed and its successor is ready"
    if not want.count:
        reason = f"{model.key} was changed, and none is wanted: {want.reason}"
    _stop(work, model, old, len(old) - max(0, want.count - ready), reason)
