"""Everything Headrace can do, each with its reason. Brains return these; shells carry them out."""

from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Start:
    """Slow brain: start a replica of `model@version` on that device."""

    replica: str
    model: str
    version: str
    pool: str
    node: str
    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Slow brain: drain a replica for at most `drain_us`, then stop it."""

    replica: str
    drain_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Slow brain: have a replica with nothing to do sleep, its process kept alive."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Slow brain: wake a replica that sleeps; its memory is there."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Slow brain: wanted, and not possible now; nothing is done. `model` is `name@version`."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What the slow brain wants done now, in order. Empty when the fleet is as it should be."""

    starts: tuple[Start, ...] = ()
    stops: tuple[Stop, ...] = ()
    holds: tuple[Hold, ...] = field(default=())
    sleeps: tuple[Sleep, ...] = ()
    wakes: tuple[Wake, ...] = ()

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.starts or self.stops or self.sleeps or self.wakes)


class Assign(msgspec.Struct, frozen=True):
    """Fast brain: send the request to this replica; after `hedge_us` without an answer, ask for a second (0: never)."""

    request: str
    replica: str
    incarnation: str
    version: str
    reason: str
    hedge_us: int = 0


class Wait(msgspec.Struct, frozen=True):
    """Fast brain: hold the request. `wake`: control must be told at once. `cold`: no replica is ready to serve it."""

    request: str
    version: str
    reason: str
    wake: bool = False
    cold: bool = False


class Reject(msgspec.Struct, frozen=True):
    """Fast brain: refuse, truthfully. `retry_after_us` is None when waiting does not help."""

    request: str
    status: int
    code: str
    reason: str
    retry_after_us: int | None = None


Answer = Assign | Wait | Reject
