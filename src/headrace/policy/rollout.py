"""What happens to a rollout now: wait, give the new version more, or return to the one before; each with its reason.

State in, state out; counters and the time are arguments. It judges three things: errors, requests that missed the
promised time to first token, and requests whose output token cost too much. Each is judged twice: beside the version
before, and with all the traffic, when there is only what that version did earlier to compare with. Each of the six may
accuse wrongly with a sixth of `ALPHA`, over the whole rollout and however often it is looked at.
"""

import math
from typing import Final

import msgspec

from headrace.policy import agreement, sequential
from headrace.state.rollout import Evidence, Rollout, RolloutPhase, Tally
from headrace.units import US_PER_S, format_us

ALPHA: Final = 0.01  # the most probable that an equal version is rolled back
STEPS: Final = (5, 25, 50, 100)  # percent
SAMPLES: Final = 50  # requests of the new version at each step
DOUBT: Final = 5.0  # evidence of harm with which no step is taken
LIMIT: Final = 6 / ALPHA  # evidence with which it goes back
SURE: Final = 1_000_000  # more is told in no more digits
SUPPOSED: Final = Tally(requests=20, errors=1, slow=1, dear=1)  # of a version before that served fewer
APART_US: Final = 10 * US_PER_S  # over which its pace is looked at where nothing serves beside it
SETTLE_US: Final = 120 * US_PER_S  # after which what a version was asked in the last minute is all of the traffic
BACKLOG: Final = 2  # times as long as requests were held, those that come are served behind them
WHAT: Final = {"errors": "errors", "slow": "late first tokens", "dear": "dear tokens"}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen since the last look. `ready`: a replica of the new version is; `fault`: why none can be; `short`:
    more of them are on their way, and are needed for the share that comes next.

    `old` and `new` tally what ended in the same stretch of time. `patience_us` bounds the wait for the first replica.
    """

    ready: bool
    fault: str = ""
    short: bool = False
    old: Tally = Tally()
    new: Tally = Tally()
    patience_us: int = 600_000_000


def look(rollout: Rollout, seen: Seen, now_us: int) -> Rollout:
    """The rollout after this look; `reason` and `changed_us` are new when its phase or share is.

    1. Nothing is asked of a version before its replicas are ready; one that cannot be started goes back unseen.
    2. A version that cannot be served any more goes back, and so does one that is worse by the test.
    3. After `SAMPLES` requests at a share, and no doubt, it gets the next one when it has replicas for it; after the
       whole, it is promoted.
    """
    if not rollout.under_way:
        return rollout
    if seen.fault:
        return back(rollout, f"{rollout.candidate} cannot be served: {seen.fault}", now_us)
    if rollout.phase == "warming":  # 1.
        if seen.ready and not seen.short:
            why = f"a replica of {rollout.candidate} is ready"
            phase: RolloutPhase = "shadow" if rollout.shadow else "canary"
            return _moved(rollout, phase, 0 if rollout.shadow else rollout.first, why, now_us)
        return _patient(rollout, seen, now_us)
    if rollout.alone and not seen.ready and not rollout.step:
        return _patient(rollout, seen, now_us)
    if rollout.alone and not rollout.calm_us:
        rollout = msgspec.structs.replace(rollout, calm_us=now_us + BACKLOG * (now_us - rollout.changed_us))
    rollout = _counted(rollout, seen)
    for name, what in WHAT.items():  # 2.
        found = harm(rollout, name)
        if found >= LIMIT and rollout.phase != "shadow" and _ripe(rollout, name, now_us):
            strong = f"{found:.0f}" if found < SURE else f"beyond {SURE:,}"
            return back(rollout, f"more {what}: {_figures(rollout, name)}; evidence {strong} of {LIMIT:.0f}", now_us)
    if not rollout.automatic or rollout.step < SAMPLES or doubt(rollout) >= DOUBT:
        return rollout
    why = f"{rollout.step} requests at {rollout.share} %, errors {_figures(rollout, 'errors')}"  # 3.
    if rollout.share >= STEPS[-1]:
        return _moved(rollout, "promoted", STEPS[-1], why, now_us)
    return rollout if seen.short else _moved(rollout, "canary", coming(rollout), why, now_us)


def _ripe(rollout: Rollout, name: str, now_us: int) -> bool:
    """Whether it may go back for that. Where nothing serves beside it, a busy moment of the machine makes all it did
    slow and dear, and so its pace is judged of `SAMPLES` requests and `APART_US` at least; errors are errors.
    """
    if name == "errors" or rollout.share < STEPS[-1]:
        return True
    return judged(rollout.new, name)[0] >= SAMPLES and now_us - rollout.changed_us >= APART_US


def coming(rollout: Rollout) -> int:
    """The share it is to have next, by itself; its own where that is the last, or an operator's to say."""
    if rollout.phase == "warming":
        return 0 if rollout.shadow else rollout.first
    if rollout.phase != "canary" or not rollout.automatic:
        return rollout.share
    return next((step for step in STEPS if step > rollout.share), rollout.share)


def needed(rollout: Rollout) -> int:
    """Replicas without which the share that comes next is not given, so that no step outruns a start."""
    return 1 if rollout.alone else staffed(rollout.replicas, coming(rollout))


def staffed(replicas: int, share: int) -> int:
    """How many replicas a share of the traffic needs, where all of it has as many as are given.

    Formula: min(n, ceil(x + sqrt(x))), x = n share / 100
    Units: replicas; share in percent.
    Source: square-root staffing: S. Halfin, W. Whitt, Heavy-traffic limits for queues with many exponential servers,
        Operations Research 29 (1981). Few replicas meet bursts that many would share, and are judged beside those.
    Assumes: a replica of either version does as much; what is asked stays about what it was.

    >>> [staffed(12, share) for share in (5, 25, 50, 100)], staffed(1, 50)
    ([2, 5, 9, 12], 1)
    """
    mean = replicas * share / STEPS[-1]
    return max(1, min(replicas, math.ceil(mean + math.sqrt(mean))))


def lacks(rollout: Rollout, have: int, *, more: bool) -> bool:
    """Whether `have` replicas are too few for its present share; where no `more` can come, its mere part will do."""
    if rollout.phase != "canary" or rollout.alone or not rollout.spec.owned:
        return False
    part = -(-rollout.replicas * rollout.share // STEPS[-1])
    enough = staffed(rollout.replicas, rollout.share) if more else part
    return have < min(enough, rollout.spec.scaling.max_replicas)


def left(rollout: Rollout) -> int:
    """Replicas that do what is left to the stable version."""
    return -(-rollout.replicas * (STEPS[-1] - rollout.share) // STEPS[-1])


def giving(rollout: Rollout, stable: int, why: str) -> Rollout:
    """No device has room for what its share needs: of `stable` replicas those go that what is left does not need."""
    reason = f"no spare device ({why}): {rollout.stable} keeps {left(rollout)} of {stable} replicas"
    return msgspec.structs.replace(rollout, leave=max(1, left(rollout)), reason=reason)


def given_up(rollout: Rollout) -> bool:
    """Whether the stable version's last place is wanted, too: it is not kept awake to be compared with."""
    return rollout.alone or (rollout.leave > 0 and rollout.share >= STEPS[-1])


def settled(rollout: Rollout, now_us: int) -> bool:
    """Whether a promoted one has had all the traffic for long enough for its own work to say what it needs."""
    return rollout.phase == "promoted" and rollout.replicas > 1 and now_us - rollout.changed_us >= SETTLE_US


def settle(rollout: Rollout) -> Rollout:
    """It needs no more replicas than its work asks for."""
    return msgspec.structs.replace(rollout, replicas=1, reason=f"{rollout.reason}; sized by its own work from now on")


def doubt(rollout: Rollout) -> float:
    """The strongest evidence that the new version is worse; 1 when there is none."""
    return max(harm(rollout, name) for name in WHAT)


def harm(rollout: Rollout, name: str) -> float:
    """The evidence that the new version has more of `errors`, `slow` or `dear`."""
    return sequential.evidence(getattr(rollout.evidence, name))


def without_room(rollout: Rollout, stable: int, served: Tally, why: str, now_us: int) -> Rollout:
    """No device has room for the candidate beside `stable` replicas of the version that serves.

    With two or more, one gives way. A single one gives its place: the candidate gets all requests, which are held
    until it is ready, and is compared with what was `served` before.
    """
    if stable > 1:
        reason = f"no spare device ({why}): one of {stable} replicas of {rollout.stable} gives way"
        return msgspec.structs.replace(rollout, leave=stable - 1, reason=reason)
    reason = f"no spare device ({why}): {rollout.stable} gives its place"
    alone = msgspec.structs.replace(rollout, alone=True, old=served, leave=0)
    return _moved(alone, "canary", STEPS[-1], reason, now_us)


def _patient(rollout: Rollout, seen: Seen, now_us: int) -> Rollout:
    if now_us - rollout.began_us >= seen.patience_us:
        return back(rollout, f"no replica was ready after {format_us(now_us - rollout.began_us)}", now_us)
    return rollout


def back(rollout: Rollout, reason: str, now_us: int) -> Rollout:
    """All traffic returns to the version before."""
    return _moved(rollout, "rolled_back", 0, reason, now_us)


def whole(rollout: Rollout, reason: str, now_us: int) -> Rollout:
    """All traffic goes to the new version, and the rollout is over."""
    return _moved(rollout, "promoted", STEPS[-1], reason, now_us)


def verdict(rollout: Rollout) -> str:
    """In words: what it waits for, or why it ended."""
    if not rollout.under_way:
        return f"{rollout.phase.replace('_', ' ')}: {rollout.reason}"
    if rollout.phase == "shadow":
        lack = agreement.lacks(rollout.agreement, rollout.agree)
        guarded = f"; may not be promoted: {lack}" if lack else ""
        told = f"{rollout.new.requests} requests were copied to it, and nobody was answered by it"
        return f"{told}; {agreement.found(rollout.agreement)}{guarded}"
    if rollout.phase == "warming":
        return f"waits for a replica of {rollout.candidate}"
    if doubt(rollout) >= DOUBT:
        return f"in doubt: evidence {doubt(rollout):.1f} that it is worse; {LIMIT:.0f} rolls it back"
    if not rollout.automatic:
        return f"{rollout.step} requests at {rollout.share} %; waits for an operator"
    if rollout.step >= SAMPLES and rollout.share < STEPS[-1]:
        waits = f"waits for {needed(rollout)} replicas, for {coming(rollout)} %"
        return f"{rollout.step} requests at {rollout.share} %; {waits}"
    return f"{rollout.step} of {SAMPLES} requests at {rollout.share} %"


def told(rollout: Rollout, now_us: int) -> str:
    """A step in words, as the journal of decisions has it."""
    took = format_us(now_us - rollout.began_us)
    return f"{rollout.share} % of {rollout.model}: {rollout.reason} ({took} since it began)"


def weights(rollout: Rollout) -> dict[str, int]:
    """The weight of each version now; one that is not named has none."""
    if rollout.phase in ("rolled_back", "ended") or (rollout.shadow and rollout.under_way):
        return rollout.before
    return {rollout.stable: STEPS[-1] - rollout.share, rollout.candidate: rollout.share}


def _counted(rollout: Rollout, seen: Seen) -> Rollout:
    """With one more batch of what ended."""
    news = seen.new.requests - seen.new.unpaced
    after = msgspec.structs.replace(
        rollout, old=rollout.old.plus(seen.old), new=rollout.new.plus(seen.new), step=rollout.step + news
    )
    if rollout.share < STEPS[-1]:
        return _beside(rollout, after, seen)
    found = {name: _afterwards(rollout, after, name) for name in WHAT}
    return msgspec.structs.replace(after, evidence=Evidence(**found))


def _beside(before: Rollout, after: Rollout, seen: Seen) -> Rollout:
    """Both served in the same stretch of time: one batch, judged when it has what both would have by their shares.

    One that ended alone says nothing of the other, so where little is asked a batch stays open over many looks. That
    depends on how many ended and not on what became of them; the one with which a step is due is judged as it is.
    """
    old, new = before.open_old.plus(seen.old), before.open_new.plus(seen.new)
    part = max(1, before.share or before.shadow)
    full = new.requests >= 1 and old.requests >= max(1, (STEPS[-1] - part) // part)
    if not full and not before.step < SAMPLES <= after.step:
        return msgspec.structs.replace(after, open_old=old, open_new=new)
    found = {
        name: sequential.grown(getattr(before.evidence, name), judged(old, name), judged(new, name)) for name in WHAT
    }
    return msgspec.structs.replace(after, evidence=Evidence(**found), open_old=Tally(), open_new=Tally())


def _afterwards(before: Rollout, after: Rollout, name: str) -> tuple[float, ...]:
    """Nothing serves beside it: all its requests are held against all that the stable version had served.

    Looked at when its count has doubled, not whenever asked: one that grows on one side alone is no martingale. The
    machine may have another load now, which makes some requests dear: it is dearer when most of them are.
    """
    (n0, m0), new = judged(after.old, name), judged(after.new, name)
    counts = (judged(before.new, name)[0], new[0]) if after.solo else (before.step, after.step)
    look = sequential.looks(counts[1], SAMPLES)
    if look == sequential.looks(counts[0], SAMPLES):
        kept: tuple[float, ...] = getattr(before.evidence, name)
        return kept
    if n0 < SUPPOSED.requests:
        n0, m0 = SUPPOSED.requests, max(m0, getattr(SUPPOSED, name))
    if after.solo and name == "dear":
        m0 = max(m0, n0 // 2)
    return (sequential.looked(look, (n0, m0), new),)


def judged(tally: Tally, name: str) -> tuple[int, int]:
    """(requests, bad ones among them) of `errors`, `slow` or `dear`."""
    bad: int = getattr(tally, name)
    return (tally.requests if name == "errors" else max(bad, tally.requests - tally.unpaced)), bad


def _moved(rollout: Rollout, phase: RolloutPhase, share: int, reason: str, now_us: int) -> Rollout:
    """What had not been judged yet came at another share."""
    return msgspec.structs.replace(
        rollout, phase=phase, share=share, step=0, reason=reason, changed_us=now_us, open_old=Tally(), open_new=Tally()
    )


def _figures(rollout: Rollout, name: str) -> str:
    (n1, x), (n0, m0) = judged(rollout.new, name), judged(rollout.old, name)
    before = ", before" if rollout.solo else ""
    return f"{x} of {n1} with {rollout.candidate}, {m0} of {n0} with {rollout.stable}{before}"
