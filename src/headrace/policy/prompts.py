"""How long prompts wait in a replica: foretold when one is sent there, set right by its first token.

A replica works prompts off one after the other, or as if it did. How long they really take, in parts of what their
lengths foretell, is learned by lane: those in a cache take less, those between other sequences' steps more.
"""

from typing import Final

from headrace.policy.lane import Lane, Ticket
from headrace.policy.seat import Seat
from headrace.state.request import Request
from headrace.state.work import WorkRate

SAMPLES: Final = 64  # first tokens, of which the scale is about a mean
SCALE_MIN: Final = 1 / 64
SCALE_MAX: Final = 8.0


def alone_us(there: WorkRate, request: Request) -> float:
    """What a prompt takes by its length."""
    return (there.fixed_ns + request.input_tokens * there.input_ns) / 1000


def sent(lane: Lane, ticket: Ticket, seat: Seat, now_us: int) -> None:
    """A prompt goes to a seat, behind those that it was given before."""
    ticket.alone_us = alone_us(seat.there, ticket.request) if seat.there is not None else 0.0
    if ticket.alone_us:
        ticket.prompt_us = ticket.alone_us * lane.prompt_scale
        seat.clear_us = (max(now_us, seat.clear_us)) + ticket.prompt_us
        ticket.clear_us = seat.clear_us - seat.moved_us


def begun(lane: Lane, ticket: Ticket, seat: Seat, now_us: int) -> None:
    """Its first token is out: those behind it are as much sooner or later as it was, and the scale learns of it."""
    if not ticket.alone_us:
        return
    early_us = ticket.clear_us + seat.moved_us - now_us
    took_us = ticket.prompt_us - early_us
    found = took_us / ticket.alone_us if took_us > 0 else 0.0
    scale = lane.prompt_scale + (min(found, SCALE_MAX) - lane.prompt_scale) / SAMPLES
    lane.prompt_scale = max(SCALE_MIN, scale)
    lane.prompts_told = True
    ticket.alone_us = 0.0
    _move(seat, early_us)


def gone(ticket: Ticket, seat: Seat, now_us: int, *, whole: bool) -> None:
    """It is over, no first token was seen: answered `whole`, its prompt is done; left or lost, it takes no time."""
    if not ticket.alone_us:
        return
    ticket.alone_us = 0.0
    early_us = ticket.clear_us + seat.moved_us - now_us
    if early_us > 0:
        _move(seat, early_us if whole or early_us < ticket.prompt_us else ticket.prompt_us)


def _move(seat: Seat, early_us: float) -> None:
    seat.clear_us -= early_us
    seat.moved_us -= early_us
