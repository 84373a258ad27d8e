"""What a runner needs of the world: a journal that commits, objects, models that answer, time."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from headrace.state.run import Cached

CHILD: Final = "/headrace/v1/runs"  # the path of a call that is a run of another pipeline


def child_of(once: str) -> str:
    """The name of the run that a call begins."""
    return f"run_{hashlib.sha256(once.encode()).hexdigest()[:16]}"


class Objects(Protocol):
    """Large bytes by their digest; see `headrace.ports.Objects`."""

    async def put(self, data: bytes) -> str:
        """Keep; the digest."""
        ...

    async def get(self, digest: str) -> bytes:
        """What was kept. Raises Permanent when it is gone or damaged."""
        ...


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


class Charges(msgspec.Struct, frozen=True):
    """Nano-dollars by call. Every request that a gateway had before `until_us` has ended and is in the sums."""

    by_call: dict[str, int]
    until_us: int = 0


class Models(Protocol):
    """The models of this cloud, through its own gateway, as the holder of a key. Both raise Unreachable."""

    async def quote(self, key: str, path: str, body: dict[str, Any], *, agent_step: bool = False) -> Quote:
        """What it would cost. Raises Invalid or Refused in the gateway's words."""
        ...

    async def send(
        self,
        key: str,
        path: str,
        body: dict[str, Any],
        *,
        once: str,
        label: str,
        cap_nanousd: int,
        agent_step: bool = False,
    ) -> Said:
        """Ask. `once` is the Idempotency-Key; a call dearer than the cap is refused by the gateway."""
        ...

    async def charges(self, key: str, run: str, since_us: int) -> Charges:
        """What the requests of a run were charged that have ended since, by call; of several of one call, the sum."""
        ...

    async def charge(self, key: str, request: str) -> int | None:
        """What a finished request was charged; None when that cannot be learned now."""
        ...

    def release(self, tenant: str, run: str) -> None:
        """The run has all it was answered: large answers need not be kept for it any longer."""
        ...

    async def expect(self, key: str, model: str, requests: int, *, within_s: int, label: str) -> None:
        """Say that so many requests will come to a model under that label; 0 takes it back."""
        ...


class Runs(Protocol):
    """The journal of all runs, and the pipelines that are deployed."""

    async def begin(self, run: str, started: bytes, tenant: str = "") -> bool:
        """Its first event, durable when this returns; False, and nothing done, when there is such a run."""
        ...

    async def append(self, run: str, events: Sequence[bytes]) -> None:
        """Durable, all or none, when this returns."""
        ...

    def append_soon(self, run: str, events: Sequence[bytes]) -> "asyncio.Future[Any]":
        """The same for who does not wait, by itself within milliseconds.

        It is durable, and its outcome known, before anything that is appended later.
        """
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

    def cached(self, tenant: str, digest: str) -> Cached | None:
        """What was remembered of a subject, by its digest; never another tenant's."""
        ...

    async def remember(self, tenant: str, digest: str, result: Cached, age_us: int) -> None:
        """Keep a result for others, at least so long."""
        ...

    async def mark(self, run: str, done: bool, at_us: int = 0) -> None:
        """Whether a run has ended, and when."""
        ...

    async def forget(self, run: str) -> bool:
        """All of a run that has ended, what it has of objects and what others remember of it; False of one at work."""
        ...

    def over(self, tenant: str, before_us: int) -> list[str]:
        """The first thousand runs of a tenant that ended before a moment."""
        ...

    def tenants(self) -> list[str]:
        """Those that have runs."""
        ...

    async def hold(self, tenant: str, run: str, found: Sequence[tuple[str, int]]) -> None:
        """A run has objects, by digest and bytes; a run that has not begun yet, too. Durable when this returns."""
        ...

    def held(self, digest: str) -> bool:
        """Whether any run has an object."""
        ...

    def loose(self) -> list[str]:
        """Objects that a run had which is forgotten; another one may have them."""
        ...

    async def let_go(self, digest: str) -> None:
        """An object is not loose any more: it is gone, or another run has it."""
        ...

    def unbegun(self) -> list[str]:
        """Names that have objects and are no run: it was never begun."""
        ...

    async def deploy(self, tenant: str, name: str, text: str) -> None:
        """Keep a pipeline under its name, in its tenant."""
        ...

    def deployed(self, tenant: str) -> dict[str, str]:
        """Name to text."""
        ...


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What another server answered."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}


class Web(Protocol):
    """Other servers, for tools."""

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes, most_bytes: int) -> Fetched:
        """Ask. Raises Refused for an address that is not allowed, Unreachable, Permanent for too large an answer."""
        ...


class Clock(Protocol):
    """See `headrace.ports.Clock`."""

    def now_us(self) -> int:
        """Microseconds since 1970."""
        ...
