"""Books what every device cost, up to the last moment that is settled; moves overheads once an hour is over.

A device's time is booked once, in order, in pieces that end at hours and changes of its price. What is booked ends
before the earliest request that is still at work, so that everybody who shared a batch is known when it is shared.
Time in which the machine was off, and jumps of the wall clock, are not charged and say so.
"""

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from headrace.control.bookkeeper import Bookkeeper
from headrace.control.records import Records
from headrace.control.speeds import Speeds, place
from headrace.control.terms import Terms
from headrace.economics import booking, entries, overhead
from headrace.economics.booking import WHOLE_PPM, Part, Tenure
from headrace.economics.entries import HOUR_US, Entry, hour_of
from headrace.economics.sharing import Member
from headrace.errors import Transient
from headrace.ports import Clock, Rate, Store
from headrace.specs.catalog import ModelSpec
from headrace.state.fleet import Device, Lease
from headrace.state.usage import Stay, Usage

LAG_US: Final = 1_500_000  # a record may be this late and still find its time unbooked
TICK_US: Final = 10_000_000
QUIET_US: Final = 30_000_000  # when nobody was served, entries may wait and be fewer
OFF_US: Final = 60_000_000
JUMP_US: Final = 5_000_000
HOURS_MAX: Final = 48
_TICK: Final = "books-tick"
_MOVED: Final = "books-moved"


def device_name(device: Device | Lease) -> str:
    """What the books call a device."""
    return f"{device.pool}/{device.node}/{device.device}"


class Books:
    """The cost side of the ledger."""

    def __init__(
        self, store: Store, records: Records, terms: Terms, bookkeeper: Bookkeeper, speeds: Speeds, clock: Clock
    ) -> None:
        self._store = store
        self._records = records
        self._terms = terms
        self._bookkeeper = bookkeeper
        self._clock = clock
        self._ticked_us = int(store.get(_TICK) or 0)
        self._off: tuple[int, int] | None = None  # from, to: time that is nobody's
        self._wall_us, self._steady_us = clock.now_us(), clock.monotonic_us()
        self._speeds = speeds
        self._models: tuple[ModelSpec, ...] = ()
        self._known: dict[str, Device] = {}  # those of the last turn, and those that have left with work to be booked

    def began(self, *, still_running: bool) -> None:
        """A controller has started. When nothing ran and nobody looked, the time since is not charged."""
        now_us = self._clock.now_us()
        if self._ticked_us and not still_running and now_us - self._ticked_us > OFF_US:
            self._off = (self._ticked_us, now_us)

    async def turn(self, devices: Iterable[Device], models: Iterable[ModelSpec] = ()) -> None:
        """Book what is settled. A full disk only delays it. `models` are those that could use what is left."""
        self._models = tuple(models)
        now_us = self._clock.now_us()
        self._watch_clock(now_us)
        until_us = min(self._bookkeeper.settled_until(), now_us) - LAG_US
        try:
            booked = self._store.statements.booked()
            for name, device in self._present(devices, booked, now_us).items():
                if name not in booked:
                    self._store.book(name, now_us, [], [])
                elif until_us > booked[name]:
                    await self._device(device, booked[name], until_us)
            booked = self._store.statements.booked()
            self._move({name: booked[name] for name in self._known if name in booked})
            if now_us - self._ticked_us > TICK_US:
                self._ticked_us = now_us
                self._store.put(_TICK, str(now_us).encode())
        except Transient:
            return  # told by the bookkeeper, whose work comes first

    def _present(self, devices: Iterable[Device], booked: dict[str, int], now_us: int) -> dict[str, Device]:
        """The devices there are, and those that have left while something on them is not booked yet.

        One that comes back, such as a pool that is taken out and put in again, was nobody's meanwhile. One that is gone
        for good holds nobody up.
        """
        found, before = {device_name(device): device for device in devices}, self._known
        for name in found.keys() & booked.keys():
            if before and name not in before and now_us - booked[name] > OFF_US:
                self._store.book(name, now_us, [], [])
                booked[name] = now_us
                self._records.decide("books.off", name, "it was not among the devices: this time is not charged")
        left = {name: device for name, device in before.items() if name not in found and name in booked}
        found |= {name: device for name, device in left.items() if self._held_since(name, booked[name])}
        self._known = found
        return found

    def _held_since(self, name: str, moment_us: int) -> bool:
        return any(device_name(lease) == name for lease in self._store.leases_since(moment_us))

    # --- one device ---------------------------------------------------------------------------------------------

    async def _device(self, device: Device, from_us: int, until_us: int) -> None:
        name, at_an_end = device_name(device), False
        if self._off is not None and from_us < self._off[1]:
            off_from, off_to = self._off
            at_an_end = True
            if from_us < off_from:
                until_us = min(until_us, off_from)
            else:
                self._store.book(name, off_to, [], [])
                self._records.decide("books.off", name, "nothing ran and nobody looked: this time is not charged")
                return
        rates = self._terms.rates(device.pool)
        leases = [lease for lease in self._store.leases_since(from_us) if device_name(lease) == name]
        rows = self._store.usage_since(from_us) if leases else []
        if not rows and not at_an_end and until_us - from_us < QUIET_US:
            return
        members = _members(rows)
        self._speeds.learn(device, leases, [row for row in rows if from_us < row.left_us <= until_us], members)
        for start_us, end_us, rate in pieces(rates, from_us, until_us):
            if rate is None:  # nobody had said what it costs: unknown is not booked as nothing
                self._store.book(name, end_us, [], [])
                continue
            self._piece(device, start_us, end_us, rate, leases, rows, members)
            await asyncio.sleep(0)

    def _piece(
        self,
        device: Device,
        from_us: int,
        to_us: int,
        rate: Rate,
        leases: list[Lease],
        rows: list[Usage],
        members: dict[str, list[Member]],
    ) -> None:
        name = device_name(device)
        tenures = [
            Tenure(
                name=lease.name,
                model=f"{lease.model}@{lease.version}",
                share_ppm=lease.share_ppm,
                start_us=lease.started_us,
                ready_us=lease.ready_us,
                end_us=lease.ended_us,
                drain_us=lease.drain_us,
                asleep=lease.way == "sleep",
                members=tuple(m for m in members.get(lease.name, ()) if m.end_us > from_us and m.start_us < to_us),
            )
            for lease in leases
            if lease.started_us < to_us
        ]
        keys = {f"{lease.model}@{lease.version}": place(device, lease.memory_bytes) for lease in leases}
        models = {key: self._speeds.at(key, where) for key, where in keys.items()}
        least_ppm = least_share_ppm(device, self._models)
        parts = booking.book(rate.nanousd_per_hour, from_us, to_us, tenures, models, name, least_ppm)
        missed = booking.residual(parts, rate.nanousd_per_hour, from_us, to_us)
        assert missed == 0, f"the parts of {name} miss {missed} nano-dollars of its cost"
        by_request = {row.request: row for row in rows}
        made = [self._entry(part, device, from_us, to_us, by_request) for part in parts if part.nanousd]
        made += self._moved_loads(parts, leases, rows, from_us, to_us)
        costs = [(by_request[part.subject], part.nanousd) for part in parts if part.cause == "request" and part.nanousd]
        self._store.book(name, to_us, made, costs)

    def _entry(self, part: Part, device: Device, from_us: int, to_us: int, rows: dict[str, Usage]) -> Entry:
        tenant = rows[part.subject].tenant if part.cause == "request" else ""
        return entries.cost(
            part,
            pool=device.pool,
            device=device_name(device),
            from_us=from_us,
            to_us=to_us,
            hour_us=hour_of(from_us),
            tenant=tenant,
        )

    def _moved_loads(
        self, parts: list[Part], leases: list[Lease], rows: list[Usage], from_us: int, to_us: int
    ) -> list[Entry]:
        """Cold starts, to who caused them: the first of the requests that waited for this replica."""
        found = []
        for part in parts:
            if part.cause != "load" or not part.nanousd:
                continue
            lease = next(lease for lease in leases if lease.name == part.lease)
            woke = [
                row for row in rows if row.cold and (row.replica, row.incarnation) == (lease.replica, lease.incarnation)
            ]
            if woke:
                first = min(woke, key=lambda row: row.arrived_us)
                borne = self._moved_before(part.lease, woke)
                move = overhead.move_load(
                    part.model, f"{part.lease} {from_us}", part.nanousd, first.tenant, first.request, to_us,
                    hour_of(from_us), borne=borne,
                )  # fmt: skip
                if move.nanousd:
                    found.append(move)
        return found

    def _moved_before(self, lease: str, woke: list[Usage]) -> int:
        """What of a cold start was moved in earlier pieces: the cap is on all of them together."""
        subjects = {row.request for row in woke}
        every = [entry for subject in subjects for entry in self._store.statements.entries(subject)]
        return sum(entry.nanousd for entry in every if entry.kind == "move" and f" {lease} " in f"{entry.note} ")

    # --- the hour's end -----------------------------------------------------------------------------------------

    def _move(self, booked: dict[str, int]) -> None:
        """Idle time and drains of hours that are over, to the tenants of each model."""
        if not booked:
            return
        over_us = hour_of(min(booked.values()))
        done_us = int(self._store.get(_MOVED) or 0)
        hour_us = max(done_us, over_us - HOURS_MAX * HOUR_US)
        while hour_us < over_us:
            sums = self._store.statements.balances(hour_us, hour_us + HOUR_US)
            used: dict[str, dict[str, int]] = {}
            for account, amount in sums.items():
                if account.startswith("used/"):
                    _, tenant, model = account.split("/", 2)
                    used.setdefault(model, {})[tenant] = amount
            moves: list[Entry] = []
            for account, amount in sorted(sums.items()):
                cause, _, model = account.partition("/")
                if cause in ("idle", "drain", "sleep"):
                    moves += overhead.move_in_proportion(
                        cause, model, amount, used.get(model, {}), hour_us + HOUR_US, hour_us
                    )
            if moves:
                self._store.post(moves)
            hour_us += HOUR_US
        if over_us > done_us:
            self._store.put(_MOVED, str(over_us).encode())

    # --- clocks -------------------------------------------------------------------------------------------------

    def _watch_clock(self, now_us: int) -> None:
        """A wall clock that jumped ahead has not cost anything."""
        steady_us = self._clock.monotonic_us()
        jumped_us = (now_us - self._wall_us) - (steady_us - self._steady_us)
        if abs(jumped_us) > JUMP_US:
            self._records.decide("books.clock", "clock", f"the wall clock jumped by {jumped_us // 1_000_000} s")
            if jumped_us > 0:
                self._off = (now_us - jumped_us, now_us)
        self._wall_us, self._steady_us = now_us, steady_us


def least_share_ppm(device: Device, models: Iterable[ModelSpec]) -> int:
    """The smallest share of a device that a model which may live on it takes; 0 when none may."""
    needs = [model.memory_bytes for model in models if model.owned and device.pool in model.pools]
    return min(needs) * WHOLE_PPM // device.memory_bytes if needs and device.memory_bytes else 0


def pieces(rates: list[Rate], from_us: int, until_us: int) -> list[tuple[int, int, Rate | None]]:
    """A time cut at whole hours and where a rate begins; each piece with its rate, None before the first one."""
    cuts = {from_us, until_us, *(rate.from_us for rate in rates if from_us < rate.from_us < until_us)}
    cuts |= set(range(hour_of(from_us) + HOUR_US, until_us, HOUR_US))
    order = sorted(cuts)
    found = []
    for start_us, end_us in pairwise(order):
        rate = next((rate for rate in reversed(rates) if rate.from_us <= start_us), None)
        found.append((start_us, end_us, rate))
    return found


def _members(rows: Iterable[Usage]) -> dict[str, list[Member]]:
    """Everybody who was at a replica, by lease."""
    found: dict[str, list[Member]] = {}
    for row in rows:
        for span in row.failed:
            stay = Member(
                request=row.request, start_us=span.start_us, first_us=span.end_us, end_us=span.end_us, failed=True
            )
            found.setdefault(f"{span.replica}/{span.incarnation}", []).append(stay)
        if row.parts:
            for part in row.parts:
                found.setdefault(f"{part.replica}/{part.incarnation}", []).append(_part(row, part))
        elif row.left_us and row.replica:
            found.setdefault(f"{row.replica}/{row.incarnation}", []).append(_member(row))
    return found


def _part(row: Usage, part: Stay) -> Member:
    return Member(
        request=row.request,
        start_us=part.start_us,
        first_us=part.first_us,
        end_us=part.end_us,
        prefill_tokens=part.input_tokens - part.cached_tokens,
        decode_tokens=part.output_tokens,
        failed=row.outcome == "failed",
    )


def _member(row: Usage) -> Member:
    first_us = row.arrived_us + row.first_us if row.first_us else row.left_us
    chat = row.task == "chat"
    return Member(
        request=row.request,
        start_us=row.sent_us,
        first_us=min(max(first_us, row.sent_us), row.left_us),
        end_us=row.left_us,
        prefill_tokens=row.input_tokens - row.cached_tokens if chat else 0,
        decode_tokens=row.output_tokens,
        items=0 if chat else max(1, row.items),
        failed=row.outcome == "failed",
        read_us=row.engine_prefill_us,
    )
