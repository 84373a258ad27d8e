"""Which replica a request goes to: least loaded, unless its prefix is in another one's cache and that one has room.

Called by `dispatch` alone. Never decides whether a request is taken, only where. A seat is never given more than its
slots, counting what sibling gateways have there.
"""

from typing import Final

from headrace.policy import prompts
from headrace.policy.lane import Lane, Ticket
from headrace.policy.seat import Seat
from headrace.state.request import BATCH
from headrace.units import format_us

PROMPTS: Final = 4  # part of the objective that prompts may wait in a replica; others wait here, and in turn
PREFIXES_MAX: Final = 4096  # remembered for each model version; a slot's cache holds far fewer


def pick(lane: Lane, ticket: Ticket, now_us: int, freed: Seat | None = None) -> Seat | None:
    """The seat for a request, None when every one it may use is full.

    0. Batch work only where slots are left over, and where it makes nobody slower than promised.
    1. One open seat: that one, if it has room.
       Nowhere while all have prompts before them that take long: who waits here is still given out in turn.
    2. The seat that served the same prefix last, while its load is at most the least load + max(1, slots / 4).
    3. The least loaded; ties by rotation. When one slot is free and it is the one just `freed`, nobody is looked for.
    Where the model is cut by length, of the seats of its part; of the others when those are full and it is in time
    there.
    """
    seats = lane.open
    best: Seat | None
    lane.affine = False
    if lane.room <= 0 or (ticket.request.priority == BATCH and not _left_over(lane)):
        return None
    careful = ticket.avoid or ticket.request.excluded or ticket.needs > lane.holds_least  # `ticket.careful`, in line
    if len(seats) == 1:  # 1.
        seat = seats[0]
        if seat.own + seat.others >= seat.limit or (careful and ticket.bars(seat, now_us)):
            return None
        if _choked(lane, seat, now_us) or not suits(lane, ticket, seat, now_us):
            return None
        return seat if ticket.request.priority != BATCH or _calm(lane, seat) else None
    if lane.cut is not None:
        best = _least_by_length(lane, ticket, now_us)
    elif lane.room == 1 and not careful and freed is not None and freed.open and _has_room(freed):
        best = None if _choked(lane, freed, now_us) else freed
    else:
        best = _least(lane, ticket if careful else None, now_us)
    if best is None:
        return None
    prefix = ticket.request.prefix_hash
    if prefix:
        best = _affine(lane, prefix, best, ticket, now_us)
    return best if ticket.request.priority != BATCH or _calm(lane, best) else None


def second(lane: Lane, ticket: Ticket, now_us: int) -> Seat | None:
    """The least loaded seat beside the one at work, where slots are left over and nobody waits; None without one."""
    if lane.queue or not _left_over(lane):
        return None
    barred = sum(
        seat.bit
        for seat in lane.open
        if seat is ticket.seat or ticket.bars(seat, now_us) or not suits(lane, ticket, seat, now_us)
    )
    return _least_beside(lane, barred, 0)


def _has_room(seat: Seat) -> bool:
    return seat.own + seat.others < seat.limit


def _choked(lane: Lane, seat: Seat, now_us: int) -> bool:
    """Whether one more prompt would wait there for long.

    While no first token was ever seen, nobody knows how much of its prompts a cache spares a replica: then it takes all
    that comes up to its best batch.
    """
    there, wait_us = seat.there, seat.clear_us - now_us
    if there is None or wait_us * PROMPTS <= lane.route.ttft_us:
        return False
    return lane.prompts_told or seat.own + seat.others >= (there.batch or seat.limit)


def is_long(lane: Lane, ticket: Ticket) -> bool:
    """Whether its prompt is beyond the model's cut."""
    return lane.cut is not None and ticket.request.input_tokens > lane.cut.upto_tokens


def suits(lane: Lane, ticket: Ticket, seat: Seat, now_us: int) -> bool:
    """Whether a request may go to a seat by its length: one of its part, or one where it is in time.

    In time it need not be where no seat of its part is open.
    """
    cut = lane.cut
    if cut is None:
        return True
    route, request = lane.route, ticket.request
    long = request.input_tokens > cut.upto_tokens
    if seat.long == long:
        return True
    there, mine = seat.there, lane.longs if long else lane.shorts
    if there is None or not mine:
        return True
    prompt_us = prompts.alone_us(there, request) * lane.prompt_scale
    return max(0.0, seat.clear_us - now_us) + prompt_us <= route.ttft_us


def _left_over(lane: Lane) -> bool:
    """Whether a slot may be given to batch work: an eighth of them, at least one of several, is for who asks now."""
    return lane.room > (max(1, lane.capacity >> 3) if lane.capacity > 1 else 0)


def _calm(lane: Lane, seat: Seat) -> bool:
    """Whether one more batch request there lets the others keep their pace.

    Half of the best batch where others are at work, for their prompts come in bursts: with seven eighths of it the
    fleet grows by 5 to 25 % to keep the pace, and what batch work saves is lost. Seven eighths where nobody else is.
    """
    batch = seat.there.batch if seat.there is not None else 0
    most = batch >> 1 if lane.running > lane.spare else batch - (batch >> 3)
    return not batch or seat.own + seat.others < max(1, most)


def reason(lane: Lane, seat: Seat, ticket: Ticket) -> str:
    """Why the seat just picked, in words for `explain`; called before the request is counted there."""
    load = seat.own + seat.others
    if lane.cut is not None:
        long = is_long(lane, ticket)
        side, mine = ("over", lane.longs) if long else ("up to", lane.shorts)
        why = "those were full" if mine else "none is there"
        lent = "" if seat.long == long else f", lent by the others, since {why}"
        prefix = "served this prefix last, " if lane.affine else ""
        span = f"{side} {lane.cut.upto_tokens} tokens{lent}"
        return f"{prefix}least loaded for prompts {span}, {load} of {seat.slots} slots busy"
    if len(lane.open) == 1:
        return f"the only ready replica, {load} of {seat.slots} slots busy"
    if lane.affine:
        return f"served this prefix last, {load} of {seat.slots} slots busy"
    return f"least loaded of {len(lane.open)}, {load} of {seat.slots} slots busy"


def busy(lane: Lane) -> str:
    """What a request waits for where replicas are open."""
    capacity, count = lane.capacity, len(lane.open)
    if lane.room <= 0:
        return f"all {capacity} slots of {count} replicas busy"
    why = "prompts there come first, or they are kept for others"
    return f"{lane.room} of {capacity} slots of {count} replicas free, and not for it yet: {why}"


def why_held(lane: Lane, ahead: int, *, asleep: bool) -> str:
    """Why a request waits behind so many others."""
    if asleep:
        wake = f", a start takes about {format_us(lane.route.wake_us)}" if lane.route.wake_us else ""
        return f"no replica of {lane.key} is ready{wake}"
    if lane.room > 0 and lane.fair.shared and not ahead:
        return "a request at another gateway comes before it, of a better class or a tenant that had less"
    if lane.open:
        return f"{busy(lane)}, {ahead} requests ahead"
    return f"no replica of {lane.key} can be reached now"


def _least(lane: Lane, careful: Ticket | None, now_us: int) -> Seat | None:
    """The least loaded seat that the careful one may use, from where the rotation stands; the lane has room."""
    seats = lane.open
    start = lane.rotation % len(seats)
    lane.rotation = (start + 1) % len(seats)
    if careful is None and not _choked(lane, best := seats[lane.loads.least(start)], now_us):
        return best
    barred = sum(
        seat.bit
        for seat in seats
        if _choked(lane, seat, now_us) or (careful is not None and careful.bars(seat, now_us))
    )
    return _least_beside(lane, barred, start)


def _least_by_length(lane: Lane, ticket: Ticket, now_us: int) -> Seat | None:
    """The least loaded seat of its part, else of the others that suit it."""
    start = lane.rotation % len(lane.open)
    lane.rotation = (start + 1) % len(lane.open)
    long = is_long(lane, ticket)
    others = lane.shorts if long else lane.longs
    best = _least_beside(lane, others, start)
    if best is not None and _barred(lane, ticket, best, now_us):  # seldom: it is looked for among the rest
        barred = sum(seat.bit for seat in lane.open if _barred(lane, ticket, seat, now_us))
        best = _least_beside(lane, others | barred, start)
    if best is not None:
        return best
    barred = sum(
        seat.bit
        for seat in lane.open
        if seat.long == long or _barred(lane, ticket, seat, now_us) or not suits(lane, ticket, seat, now_us)
    )
    return _least_beside(lane, barred, start)


def _barred(lane: Lane, ticket: Ticket, seat: Seat, now_us: int) -> bool:
    return _choked(lane, seat, now_us) or ticket.bars(seat, now_us)


def _least_beside(lane: Lane, barred: int, start: int) -> Seat | None:
    place = lane.loads.least_beside(barred, start)
    return lane.open[place] if place >= 0 else None


def _affine(lane: Lane, prefix: int, least: Seat, ticket: Ticket, now_us: int) -> Seat:
    prefixes = lane.prefixes
    seat = prefixes.get(prefix, least)
    if seat is not least:
        load = seat.own + seat.others
        guard = least.own + least.others + max(1, seat.slots // 4)
        full = load >= seat.limit or load > guard or _choked(lane, seat, now_us) or seat.long != least.long
        if full or not seat.open or ticket.bars(seat, now_us):
            seat = least
        else:
            lane.affine = True
    prefixes[prefix] = seat
    prefixes.move_to_end(prefix)
    if len(prefixes) > PREFIXES_MAX:
        prefixes.popitem(last=False)
    return seat
