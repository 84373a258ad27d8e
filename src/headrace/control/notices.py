"""Which devices will be taken away, as was told: by an operator, or an agent that reads its machine's notices.

Kept in the store, since a controller that starts anew must not place anything there. A device whose time has come is
gone until it is said to be back: nothing is placed on it, and it costs nothing.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from headrace import telemetry
from headrace.control.records import Records
from headrace.errors import Invalid, Transient
from headrace.ports import Clock, Store
from headrace.state.fleet import Device
from headrace.units import format_us

_NAME: Final = "notices"


class Notices:
    """Moments of the wall clock, microseconds, by `pool/node/device`."""

    def __init__(self, store: Store, records: Records, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        kept = store.get(_NAME)
        self._at_us: dict[str, int] = msgspec.json.decode(kept, type=dict[str, int]) if kept else {}

    def give(self, device: Device, in_us: int) -> None:
        """It will be taken away then. Told again, the sooner moment holds: nobody is given time twice."""
        at_us = min(self._at_us.get(name_of(device), 1 << 62), self._clock.now_us() + in_us)
        self._keep({**self._at_us, name_of(device): at_us})
        left_us = max(0, at_us - self._clock.now_us())
        self._records.decide("pool.notice", name_of(device), f"it will be taken away in {format_us(left_us)}")

    def take_back(self, device: Device) -> None:
        """It stays, or can be had again."""
        self._keep({name: at_us for name, at_us in self._at_us.items() if name != name_of(device)})
        self._records.decide("pool.back", name_of(device), "it can be used")

    def over(self, devices: Iterable[Device]) -> list[Device]:
        """The devices, each with the moment of the clock that never goes back at which it goes."""
        offset_us = self._clock.now_us() - self._clock.monotonic_us()
        return [
            msgspec.structs.replace(device, doomed_us=max(1, at_us - offset_us))
            if (at_us := self._at_us.get(name_of(device)))
            else device
            for device in devices
        ]

    def there(self, devices: Iterable[Device]) -> list[Device]:
        """Those that have not been taken away yet."""
        now_us = self._clock.now_us()
        return [device for device in devices if self._at_us.get(name_of(device), now_us + 1) > now_us]

    def _keep(self, at_us: dict[str, int]) -> None:
        self._at_us = at_us
        try:
            self._store.put(_NAME, msgspec.json.encode(at_us))
        except Transient as error:  # what was told holds while this controller lives
            telemetry.logger().error("notices.not_kept", reason=error.message)


def name_of(device: Device) -> str:
    """What notices and the books call a device."""
    return f"{device.pool}/{device.node}/{device.device}"


def chosen(devices: Iterable[Device], pool: str, wanted: str) -> Device:
    """The device of a pool that somebody means; the only one, when nothing is said. Raises Invalid."""
    every = list(devices)
    mine = [device for device in every if device.pool == pool]
    if not mine:
        there = ", ".join(sorted({device.pool for device in every})) or "none"
        raise Invalid(f"no pool {pool[:80]!r} has a device here; there are: {there}", code="not_found", status=404)
    found = [device for device in mine if device.device == wanted] if wanted else mine
    if len(found) != 1:
        names = ", ".join(device.device for device in mine)
        said = f"has no device {wanted[:80]!r}; it has" if wanted else f"has {len(mine)} devices; say which"
        raise Invalid(f"pool {pool} {said}: {names}", param="device", code="not_found", status=404)
    return found[0]
