"""Whether a request is taken, and in which words it is refused: truthful codes, figures and times.

Called by `dispatch` alone. Codes: `model_not_found` (404), `model_unavailable` (503, a fault that waiting does not
mend), `overloaded` (503), `deadline_unreachable` (503), `start_timeout` (503), `upstream_failed` (502), `engine_crash`
(500, not to be retried).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.policy.actions import Reject
from headrace.policy.lane import Lane, Ticket
from headrace.state.request import CLASSES, Request
from headrace.units import US_PER_MINUTE, US_PER_S, format_us

_RETRY_MIN_US: Final = US_PER_S
_RETRY_MAX_US: Final = US_PER_MINUTE


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """attempts_max: replicas tried for one request. crashes_max: deaths under it before it is held to be the cause.

    avoid_us: how long a request stays away from the incarnation that failed under it. evidence: requests measured
    before a waiting time is predicted. doubt: a request is refused at once only when its predicted wait is longer
    than this many times what it has left.
    """

    attempts_max: int = 2
    crashes_max: int = 2
    avoid_us: int = US_PER_S
    evidence: int = 16
    doubt: int = 2


def choose(lanes: Sequence[Lane], request: Request) -> Lane:
    """The version for a request: the one it names, else by weight from a stable hash of its id.

    Another version is taken only when the chosen one has a fault. The same id, or the same group of ids, always gets
    the same version.
    """
    if request.version:
        named = next((lane for lane in lanes if lane.route.version == request.version), None)
        if named is not None:
            return named
    point = zlib.crc32((request.group or request.id).encode())
    lane = _by_weight(lanes, point)
    if lane.route.fault:
        sound = [other for other in lanes if not other.route.fault and other.route.weight > 0]
        lane = _by_weight(sound, point) if sound else lane
    return lane


def _by_weight(lanes: Sequence[Lane], point: int) -> Lane:
    total = 0
    for lane in lanes:
        total += lane.route.weight
    if total <= 0:
        return lanes[point % len(lanes)]
    point %= total
    for lane in lanes:
        point -= lane.route.weight
        if point < 0:
            return lane
    return lanes[-1]


def wait_us(lane: Lane, ahead: int) -> int:
    """Predicted time until a slot is free for a request with `ahead` before it; 0 when nothing is known.

    Formula: (ahead + 1) * mean_us / slots
    Units: microseconds; mean_us is slot time of one request.
    Source: Little's law with all slots busy.
    Assumes: requests to come are like the last 16; those that siblings hold are among those before it.
    Example: 9 ahead, 400 ms each, 8 slots: 500 ms.
    """
    slots = lane.capacity
    if not slots or not lane.measured:
        return 0
    return (ahead + 1) * lane.mean_us // slots


def refusal(limits: DispatchLimits, lane: Lane, ticket: Ticket, now_us: int) -> Reject | None:
    """Why a request that must wait may not, None when it may."""
    route, waiting = lane.route, len(lane.queue)
    if waiting >= route.queue_max:
        return Reject(
            ticket.request.id,
            503,
            "overloaded",
            f"{lane.key} has {waiting} requests waiting, its limit (queue_max) is {route.queue_max}",
            retry_after_us(lane),
        )
    if ticket.needs > lane.holds_most and lane.cut is None and lane.open:
        return no_room(lane, ticket)
    request = ticket.request
    left_us = request.deadline_us - now_us
    if left_us <= 0:
        return late(lane, ticket, now_us)
    ahead = lane.queue.ahead(request.priority) + lane.fair.elsewhere
    predicted_us = wait_us(lane, ahead) if lane.measured >= limits.evidence else 0
    if request.strict:
        predicted_us = predicted_us if lane.open else lane.route.wake_us
        return unreachable(lane, ticket, predicted_us, left_us) if predicted_us > left_us else None
    if predicted_us > limits.doubt * left_us:
        return Reject(
            ticket.request.id,
            503,
            "overloaded",
            f"{lane.key} has {waiting} requests waiting; this one would wait about {format_us(predicted_us)} and has "
            f"{format_us(left_us)}",
            retry_after_us(lane),
        )
    return None


def unreachable(lane: Lane, ticket: Ticket, predicted_us: int, left_us: int) -> Reject:
    """Its client's own deadline would pass before anything began."""
    reason = (
        f"{lane.key} would begin with it in about {format_us(predicted_us)}, and its deadline is in "
        f"{format_us(left_us)}; ask later, or with a larger x-headrace-deadline-ms"
    )
    return Reject(ticket.request.id, 503, "deadline_unreachable", reason, retry_after_us(lane))


def no_room(lane: Lane, ticket: Ticket) -> Reject:
    """No replica could ever hold it; where a model is divided by length, one that can is wanted, and waited for."""
    most = max(lane.seats, key=lambda seat: seat.holds)
    reason = (
        f"{lane.key} has no replica with room for {ticket.needs} tokens, prompt and answer: {most.id} on {most.pool} "
        f"holds the most, {most.holds}; send a shorter prompt, or ask for fewer tokens"
    )
    return Reject(ticket.request.id, 503, "model_unavailable", reason)


def gave_way(lane: Lane, ticket: Ticket) -> Reject:
    """One of a lesser class, pushed out of a full queue."""
    reason = (
        f"{lane.key} has as many requests waiting as it may, and this one of class "
        f"{CLASSES[ticket.request.priority]} gave way to one that comes before it"
    )
    return Reject(ticket.request.id, 503, "overloaded", reason, retry_after_us(lane))


def no_retry(lane: Lane, ticket: Ticket) -> Reject:
    """Too much has failed lately for one more try."""
    reason = f"its replica failed, and {lane.key} had more retries lately than a fifth of its requests"
    return Reject(ticket.request.id, 502, "upstream_failed", reason, retry_after_us(lane))


def retry_after_us(lane: Lane) -> int:
    """When another try has a chance: the time to work off the queue, or to wake; from 1 s to 1 min."""
    known_us = wait_us(lane, len(lane.queue) + lane.fair.elsewhere) if lane.open else lane.route.wake_us
    return min(max(known_us, _RETRY_MIN_US), _RETRY_MAX_US)


def unknown(request: Request) -> Reject:
    """There is no such model any more."""
    name = f"{request.model}@{request.version}" if request.version else request.model
    return Reject(request.id, 404, "model_not_found", f"there is no model {name}")


def faulty(lane: Lane, request: Request) -> Reject:
    """The model version cannot be served, and why."""
    return Reject(request.id, 503, "model_unavailable", f"{lane.key} cannot be served: {lane.route.fault}")


def late(lane: Lane, ticket: Ticket, now_us: int) -> Reject:
    """The request's own deadline passed while it was held: too few slots, or none yet."""
    if not lane.open:
        return cold(lane, ticket, now_us)
    waited = format_us(max(0, now_us - ticket.held_us))
    slots, were = (f"all {lane.capacity} slots", "were busy") if lane.room <= 0 else ("no slot", "came free for it")
    reason = f"held for {waited}, until its deadline: {slots} of {lane.key} {were}"
    code = "deadline_unreachable" if ticket.request.strict else "overloaded"
    return Reject(ticket.request.id, 503, code, reason, retry_after_us(lane))


def cold(lane: Lane, ticket: Ticket, now_us: int) -> Reject:
    """No replica became ready within the time a start may take."""
    waited, limit = format_us(max(0, now_us - ticket.held_us)), format_us(lane.route.start_timeout_us)
    reason = f"held for {waited} and no replica of {lane.key} could take it; its start_timeout is {limit}"
    return Reject(ticket.request.id, 503, "start_timeout", reason, retry_after_us(lane))


def lost(limits: DispatchLimits, lane: Lane, ticket: Ticket) -> Reject | None:
    """Why a request whose replica failed is not tried again, None when it is."""
    if ticket.crashes >= limits.crashes_max:
        reason = f"{ticket.crashes} replicas of {lane.key} died while they worked on this request"
        return Reject(ticket.request.id, 500, "engine_crash", reason)
    if ticket.attempts >= limits.attempts_max:
        reason = f"{ticket.attempts} replicas of {lane.key} failed under this request"
        return Reject(ticket.request.id, 502, "upstream_failed", reason, retry_after_us(lane))
    return None


def unheard(request_id: str) -> Reject:
    """Lost, but not running here: it ended or left before."""
    return Reject(request_id, 502, "upstream_failed", "the request is not running any more")
