"""The spot market of a simulated world: devices that are taken away and can be had again, by the scenario's seed."""

import random
from collections.abc import Callable

from headrace.twin.events import LOSS, NOTICE, RETURN, ROUND, Events
from headrace.twin.fleet import Running, SimFleet
from headrace.twin.scenario import Scenario
from headrace.units import US_PER_DAY, format_us

Note = Callable[[str, str, str], None]


class Market:
    """Each spot device has chances of its own, so that the market is the same whatever a policy does."""

    def __init__(
        self, scenario: Scenario, fleet: SimFleet, events: Events, note: Note, die: Callable[[Running, str], None]
    ) -> None:
        self._scenario = scenario
        self._fleet = fleet
        self._events = events
        self._note = note
        self._die = die
        self._losing: dict[int, int] = {}  # when devices are lost, by number
        self._spot: list[tuple[str, float, int, random.Random]] = []  # device, losses a microsecond, notice, its chance

    def open(self) -> None:
        """The first losses are foreseen."""
        for device in self._fleet.seen(0).devices:
            pool = self._scenario.catalog.pool(device.pool)
            if pool is not None and pool.loss_ppm_per_day:
                chance = random.Random(f"{self._scenario.seed} {device.device}")  # noqa: S311 - chance of a simulation
                per_us = pool.loss_ppm_per_day / 1_000_000 / US_PER_DAY
                self._spot.append((device.device, per_us, pool.notice_us, chance))
                self.happen(RETURN, len(self._spot) - 1, 0)

    def happen(self, kind: int, number: int, now_us: int) -> None:
        """A device is taken away, will be, or can be had again."""
        device, per_us, notice_us, chance = self._spot[number]
        if kind == RETURN:
            if now_us:
                self._note("spot.back", device, "it can be had again")
            self._fleet.give_back(device)
            lost_us = now_us + chance.expovariate(per_us)
            self._events.push(lost_us, LOSS, None, number)
            if notice_us:
                self._losing[number] = int(lost_us)
                self._events.push(max(now_us, lost_us - notice_us), NOTICE, None, number)
            return
        if kind == NOTICE:
            self._note("spot.notice", device, f"it will be taken away in {format_us(self._losing[number] - now_us)}")
            self._fleet.doom(device, self._losing[number])
            self._events.push(now_us, ROUND, None, 1)
            return
        self._note("spot.lost", device, "it was taken away, by the scenario's chance")
        for one in self._fleet.take_away(device):
            self._die(one, f"spot device {device} was taken away")
        self._events.push(now_us + chance.expovariate(1 / self._scenario.spot_away_us), RETURN, None, number)
