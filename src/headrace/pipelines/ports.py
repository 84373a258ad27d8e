"""What a runner needs of the world: a journal that commits, models that answer, time; also `headrace.ports.Objects`."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec


class Quote(msgspec.Struct, frozen=True):
    """What a call would come to, nano-dollars."""

    expected_nanousd: int
    worst_nanousd: int


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway answered. `charge_nanousd` is None where it did not say."""

    status: int
    body: Any
    charge_nanousd: int | None = None
    request: str = ""
    retry_after_us: int = 0
    replayed: bool = False


class Models(Protocol):
    """The models of this cloud, through its own gateway, as the holder of a key. Both raise Unreachable."""

    async def quote(self, key: str, path: str, body: dict[str, Any]) -> Quote:
        """What it would cost. Raises Invalid or Refused in the gateway's words."""
        ...

    async def send(self, key: str, path: str, body: dict[str, Any], *, once: str, label: str, cap_nanousd: int) -> Said:
        """Ask. `once` is the Idempotency-Key; a call dearer than the cap is refused by the gateway."""
        ...

    async def charge(self, key: str, request: str) -> int | None:
        """What a finished request was charged; None when that cannot be learned now."""
        ...


class Runs(Protocol):
    """The journal of all runs, and the pipelines that are deployed."""

    async def append(self, run: str, events: Sequence[bytes]) -> None:
        """Durable, all or none, when this returns."""
        ...

    def events(self, run: str) -> list[bytes]:
        """Of one run, in order; empty when there is none."""
        ...

    def unfinished(self) -> list[str]:
        """Runs to go on with."""
        ...

    def recent(self, limit: int) -> list[str]:
        """The newest runs first."""
        ...

    async def mark(self, run: str, done: bool) -> None:
        """Whether a run has ended."""
        ...

    async def deploy(self, tenant: str, name: str, text: str) -> None:
        """Keep a pipeline under its name, in its tenant."""
        ...

    def deployed(self, tenant: str) -> dict[str, str]:
        """Name to text."""
        ...


class Clock(Protocol):
    """See `headrace.ports.Clock`."""

    def now_us(self) -> int:
        """Microseconds since 1970."""
        ...
