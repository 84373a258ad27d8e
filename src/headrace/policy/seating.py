"""The seats of one gateway worker: who is in the table, who is gone and still has work, and what siblings have there.

Written by `dispatch` alone, with each table and with what siblings tell. Lanes know their own seats; this knows all.
"""

from collections.abc import Mapping

from headrace.policy.lane import Lane
from headrace.policy.seat import Seat
from headrace.state.table import RouteReplica


class Seating:
    """All seats by the replica's id."""

    __slots__ = ("_others", "_seats")

    def __init__(self) -> None:
        self._seats: dict[str, Seat] = {}
        self._others: Mapping[str, int] = {}

    def get(self, replica: str) -> Seat | None:
        """The seat of the replica that has this id now."""
        return self._seats.get(replica)

    def take(self, replicas: tuple[RouteReplica, ...], lanes: Mapping[str, Lane], now_us: int) -> None:
        """Seat the table's replicas. One that is gone keeps its seat, shut, while something runs on it."""
        seats: dict[str, Seat] = {}
        for lane in lanes.values():
            lane.seats = []
        for route in replicas:
            seat = self._seats.get(route.id)
            if seat is None or seat.incarnation != route.incarnation:
                seat = Seat(route, self._others.get(route.id, 0))
            seat.slots = route.slots
            seat.pool, seat.holds = route.pool, route.holds_tokens
            seat.limit = 1 if seat.half_open else route.slots
            seat.ready = route.phase == "ready"
            seats[route.id] = seat
            home = lanes.get(f"{route.model}@{route.version}")
            if home is not None:
                home.seats.append(seat)
        for name, seat in self._seats.items():
            if seats.get(name) is not seat:
                seat.ready = seat.open = False  # prefixes and tickets may still know it
                if seat.own:
                    seats.setdefault(name, seat)
        self._seats = seats
        for lane in lanes.values():
            lane.reopen(now_us)

    def others(self, in_flight: Mapping[str, int]) -> None:
        """What sibling gateways have in flight, per replica; lanes are to count anew."""
        self._others = in_flight
        for seat in self._seats.values():
            seat.others = in_flight.get(seat.id, 0)

    def in_flight(self) -> Mapping[str, int]:
        """This worker's requests in flight, per replica."""
        return {seat.id: seat.own for seat in self._seats.values()}
