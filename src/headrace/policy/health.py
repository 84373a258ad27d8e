"""Passive health: a replica that cannot be reached is left alone for a while, then tried with one request.

Called by `dispatch` with what gateways meet. It never says that a replica is dead: the substrate knows that. All
moments are CLOCK_MONOTONIC microseconds.
"""

from typing import Final

from headrace.policy.lane import Lane
from headrace.policy.seat import Seat
from headrace.units import US_PER_S

FAULTS_MAX: Final = 3  # consecutive faults that eject
PROBE_US: Final = 2 * US_PER_S  # ejection time: this times the count of ejections
EJECTION_MAX_US: Final = 30 * US_PER_S


def fault(lane: Lane, seat: Seat, now_us: int) -> bool:
    """Count a fault; True when it ejects the seat.

    Ejected after FAULTS_MAX in a row, or at once when it was on trial, for PROBE_US times the count, at most
    EJECTION_MAX_US; the last open seat never longer than PROBE_US, because some hope is better than none.
    """
    seat.faults += 1
    if not seat.open or (seat.faults < FAULTS_MAX and not seat.half_open):
        return False
    seat.ejections += 1
    last = len(lane.open) == 1
    seat.ejected_until_us = now_us + (PROBE_US if last else min(EJECTION_MAX_US, PROBE_US * seat.ejections))
    seat.half_open = True
    seat.limit = 1
    return True


def success(seat: Seat) -> None:
    """A request ended well there: all is forgiven."""
    seat.faults = 0
    if seat.half_open:
        seat.half_open = False
        seat.limit = seat.slots
        seat.ejections = 0
        seat.ejected_until_us = 0
